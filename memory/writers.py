"""Is the process that was writing a reply still there?"""

from __future__ import annotations

from datetime import datetime

import psutil

__all__ = ["is_alive"]

_CLOCK_SLACK_S = 2.0


def is_alive(pid: int | None, since: str) -> bool:
    """Whether the process that had this id at `since` (UTC, ISO 8601) still runs.

    Process ids come back: after a reboot, and in a container nearly always. So a process that was
    born later is another one, even if it is this one.
    """
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= datetime.fromisoformat(since).timestamp() + _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
