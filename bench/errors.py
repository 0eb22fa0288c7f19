"""What goes wrong in a benchmark."""

from __future__ import annotations

__all__ = ["BenchError"]


class BenchError(Exception):
    """A benchmark cannot go on; the message is one line for the person."""
