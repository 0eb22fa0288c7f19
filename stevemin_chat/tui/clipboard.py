"""The clipboard by the desktop's own program, which, unlike the terminal's OSC 52, says whether it worked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

__all__ = ["copy_natively"]

_TIMEOUT = 2.0  # seconds


def copy_natively(text: str) -> bool:
    """Copy by the first program there is; False when none worked. Blocks."""
    for command in _programs():
        try:
            done = subprocess.run(
                command,
                input=text.encode(),
                stdout=subprocess.DEVNULL,  # xclip stays behind and would hold a pipe open
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return True
    return False


def _programs() -> list[list[str]]:
    commands: list[list[str]] = []
    if sys.platform == "darwin":
        commands.append(["pbcopy"])
    if os.environ.get("WAYLAND_DISPLAY"):
        commands.append(["wl-copy"])
    if os.environ.get("DISPLAY"):
        commands += [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    return [command for command in commands if shutil.which(command[0])]
