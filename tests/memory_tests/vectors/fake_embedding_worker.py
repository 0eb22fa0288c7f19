"""A worker program without a model, which fails in the ways that its first argument names.

A text of digits becomes the point at that many degrees on a circle. `folder`, the second argument,
is where it notes what it does and finds the signs to go on.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def main() -> None:
    behaviour, folder, descriptor, *_ = sys.argv[1:]
    print("on stdout")
    print("on stderr", file=sys.stderr)
    state = Path(folder)
    starts = note(state / "starts", str(os.getpid()))
    if behaviour == "dies-at-once" or (behaviour == "dies-at-first-start" and starts == 1):
        sys.exit(7)
    if behaviour == "dies-until-told" and not (state / "go").exists():
        sys.exit(7)
    if behaviour == "hangs-loading":
        time.sleep(600)
    connection: Connection[Any, Any] = Connection(int(descriptor))
    if behaviour == "cannot-load":
        connection.send_bytes(b"EImportError: no\nsuch library")
        sys.exit(1)
    connection.send_bytes(b"R3" if behaviour == "other-dimension" else b"R2")
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        batches = note(state / "batches", json.dumps(request))
        answer(behaviour, connection, state, request["texts"], batches)


def answer(
    behaviour: str, connection: Connection[Any, Any], state: Path, texts: list[str], batches: int
) -> None:
    if behaviour == "dies-on-poison" and "666" in texts:
        until(lambda: not (state / "stop").exists())
        os._exit(9)
    if behaviour == "dies-at-first-batch" and batches == 1:
        os._exit(9)
    if behaviour == "hangs-at-first-batch" and batches == 1:
        time.sleep(600)
    if behaviour == "waits-for-a-sign":
        until((state / "go").exists)
    connection.send_bytes(GARBAGE.get(behaviour) or b"V" + b"".join(point(text) for text in texts))


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def point(text: str) -> bytes:
    angle = math.radians(float(text) if text.isdigit() else 0.0)
    return struct.pack("=2f", math.cos(angle), math.sin(angle))


def note(path: Path, line: str) -> int:
    """Append a line to a file; returns how many lines it has."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return len(path.read_text("utf-8").splitlines())


GARBAGE = {
    "answers-nonsense": b"nonsense",
    "answers-nothing": b"\0",
    "answers-too-little": b"V" + struct.pack("=f", 1.0),
    "answers-nan": b"V" + struct.pack("=2f", math.nan, 0.0),
    "answers-too-much": b"V" * (2 << 20),
    "answers-an-error": b"EMemoryError",
}

if __name__ == "__main__":
    main()
