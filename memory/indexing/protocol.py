"""What the chat and the process of its vector index tell each other: pickled pairs over two pipes.

The chat sends an `IndexSpec`, then (name of a request, arguments). The process answers (kind, value): once
when chromadb is loaded, once with whether the index lacks passages, then once for each request.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FAILED", "OK", "REQUESTS", "WORKING", "IndexSpec"]

OK: Final = "ok"
FAILED: Final = "failed"  # with a sentence for a person
WORKING: Final = "working"  # still at it: not an answer, only a sign of life
REQUESTS: Final = frozenset({"search", "add", "remove", "ids", "clear"})


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Which index to open.

    Args:
        folder: absolute; for a server it only holds whose collection it is.
        embedder: vectors of another name or dimension are of another collection.
        url: of a Chroma server; None: embedded.
        fresh: start empty, whatever is there.
    """

    folder: Path
    embedder: str
    dimension: int
    url: str | None = None
    fresh: bool = False

    @property
    def where(self) -> str:
        """For messages."""
        return self.url or str(self.folder)

    def collection(self, prefix: str, layout: str = "") -> str:
        """A name that Chroma takes, another one for each embedder."""
        identity = f"{self.embedder}\0{self.dimension}\0{layout}"
        return f"{prefix}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
