"""Token bytes to text, piece by piece."""

from __future__ import annotations

import codecs

__all__ = ["Detokenizer"]


class Detokenizer:
    """Decodes UTF-8 that is split across tokens and holds back what may become a stop string.

    Args:
        stop: strings that end the text; they and what follows are not part of it.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = stop
        self._hold = max((len(text) for text in stop), default=1) - 1
        self._tail = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """Text that is certain after these bytes; sets `stopped` once a stop string is complete."""
        if self.stopped:
            return ""
        self._tail += self._decoder.decode(data)
        if (cut := self._find_stop()) is not None:
            self.stopped = True
            text, self._tail = self._tail[:cut], ""
            return text
        held = self._held()
        text = self._tail[: len(self._tail) - held]
        self._tail = self._tail[len(self._tail) - held :]
        return text

    def flush(self) -> str:
        """What was held back, when the answer ends."""
        text = self._tail + ("" if self.stopped else self._decoder.decode(b"", final=True))
        self._tail = ""
        return text

    def _find_stop(self) -> int | None:
        found = [at for text in self._stop if (at := self._tail.find(text)) >= 0]
        return min(found, default=None)

    def _held(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        for length in range(min(self._hold, len(self._tail)), 0, -1):
            end = self._tail[-length:]
            if any(text.startswith(end) for text in self._stop):
                return length
        return 0
