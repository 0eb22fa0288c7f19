"""Time to first paint: from the start of the process to the prompt on the screen, beside bare Textual.

Both run on a pseudo-terminal of 80 by 24 in a home of their own, in turns. The bare application shows one
static text; its time is Python's and Textual's own. The chat names a model that does not exist, so that
loading one, which happens behind the drawn screen, takes no core from either.

    python bench/chat/first_paint.py --json
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.cli import BenchError, add_limits, limits, note
from bench.ratios import Limits, Ratio

_PLACEHOLDER = "Message, or"
_CHAT = ("-m", "stevemin_chat")
_BARE = (
    "-c",
    "from textual.app import App\n"
    "from textual.widgets import Static\n"
    "class Bare(App):\n"
    "    def compose(self):\n"
    f"        yield Static({_PLACEHOLDER!r})\n"
    "Bare().run()",
)
_GIVE_UP_S = 60.0


def measure(limits: Limits) -> dict[str, Any]:
    """Medians of the seconds to first paint of both, and their ratio."""
    times: dict[str, list[float]] = {"chat": [], "bare": []}
    sides = [("chat", _CHAT), ("bare", _BARE)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        (home / "config").mkdir(parents=True)
        (home / "config" / "config.toml").write_text('model = "/no/such.gguf"\n', encoding="utf-8")
        for _, command in sides:
            first_paint(command, home)  # warm the file cache
        for number in limits.numbers(lambda: [Ratio.between(times["chat"], times["bare"])]):
            for name, command in sides if number % 2 else reversed(sides):
                times[name].append(first_paint(command, home))
            latest = ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in times.items())
            note(f"  round {number + 1}: {latest}")
    return {
        "chat_s": round(median(times["chat"]), 3),
        "bare_s": round(median(times["bare"]), 3),
        **Ratio.between(times["chat"], times["bare"]).entry(),
    }


def first_paint(command: Sequence[str], home: Path) -> float:
    """Seconds until a program has drawn the prompt; ends it then.

    Raises:
        BenchError: it ended or drew nothing in time.
    """
    terminal, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "STEVEMIN_HOME": str(home)}
    begin = perf_counter()
    program = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    try:
        while _PLACEHOLDER.encode() not in seen:
            if not select.select([terminal], [], [], _GIVE_UP_S)[0]:
                raise BenchError(f"The program drew nothing for {_GIVE_UP_S:g} s.")
            seen += os.read(terminal, 65536)
        return perf_counter() - begin
    except OSError as error:  # how Linux reports a terminal that nobody holds open
        raise BenchError(
            f"The program ended before it drew anything: {seen[-300:].decode(errors='replace')}"
        ) from error
    finally:
        program.kill()
        program.wait()
        os.close(terminal)


def show(result: dict[str, Any]) -> Iterator[str]:
    """Format the result as one line."""
    times = f"{result['chat_s']} s, bare Textual {result['bare_s']} s"
    yield f"first paint: {times}, ratio {Ratio.read(result)}, {result['rounds']} rounds"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_limits(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    try:
        result = measure(limits(args))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result, indent=1) if args.json else "\n".join(show(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
