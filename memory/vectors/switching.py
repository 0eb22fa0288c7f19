"""Which embedding model answers searches, and which one is still embedding what is stored.

When another model is configured, its vectors are made in the background while those of the former one answer:
the vectors of two models cannot be compared, so a question is embedded by the model whose vectors it meets.
When every passage has a vector of the new model, that one answers, and the vectors of the former are deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from memory.ports import Embedder
from memory.storage import Database, Settings, StoredVectors

__all__ = ["Embedders", "Reopen"]

_log = logging.getLogger(__name__)

Reopen = Callable[[str], Embedder | None]


class Embedders:
    """The configured embedder, and the former one as long as it answers. Any thread.

    Args:
        wanted: the configured one.
        reopen: makes an embedder of its recipe; None if it is not on this machine any more.
    """

    def __init__(
        self,
        database: Database,
        vectors: StoredVectors,
        settings: Settings,
        *,
        wanted: Embedder,
        reopen: Reopen,
    ) -> None:
        self.wanted = wanted
        self._database = database
        self._vectors = vectors
        self._settings = settings
        self._reopen = reopen
        self._opening = Lock()  # guards what follows
        self._closed = False
        self._former_name: str | None = None
        self._former: Embedder | None = None

    def answering(self) -> Embedder | None:
        """The one whose vectors answer searches, which another process may have changed; None if it cannot
        be had: then words must do."""
        stored = self._database.call(lambda: self._settings.embedder)
        if stored is None or stored[0] == self.wanted.name:
            self._drop_former()
            return self.wanted
        return self._former_of(*stored)

    def begin(self) -> bool:
        """Note that the wanted one takes over; False if it has already. For the process that embeds."""
        return self._database.call(self._begin)

    def take_over(self) -> None:
        """Let the wanted one answer: all have its vector. Then `tidy` deletes the others."""
        self._database.call(self._take_over)
        self._drop_former()
        _log.info("%s answers searches now", self.wanted.name)

    def tidy(self) -> bool:
        """Delete some vectors of embedders that are not used any more; False if there are none."""
        return self._database.call(self._tidy)

    def close(self) -> None:
        """Stop their workers. Safe to call twice."""
        with self._opening:
            self._closed = True
        self.wanted.close()
        self._drop_former()

    def _former_of(self, name: str, recipe: str) -> Embedder | None:
        with self._opening:
            if self._former_name != name and not self._closed:
                if self._former is not None:
                    self._former.close()
                self._former_name, self._former = name, self._reopened(name, recipe)
            return self._former

    def _reopened(self, name: str, recipe: str) -> Embedder | None:
        former = self._reopen(recipe)
        if former is not None and former.name == name:
            return former
        if former is not None:  # its files have changed
            former.close()
        _log.warning("%s made the stored vectors and is not here any more; words answer meanwhile", name)
        return None

    def _drop_former(self) -> None:
        with self._opening:
            former, self._former, self._former_name = self._former, None, None
        if former is not None:
            former.close()

    # On the database's thread.

    def _begin(self) -> bool:
        stored = self._settings.embedder
        switching = stored is not None and stored[0] != self.wanted.name
        with self._database.atomic():
            if not switching and stored != (self.wanted.name, self.wanted.recipe):
                self._settings.embedder = (self.wanted.name, self.wanted.recipe)
            self._settings.next_embedder = self.wanted.name if switching else None
        return switching

    def _take_over(self) -> None:
        with self._database.atomic():
            self._settings.embedder = (self.wanted.name, self.wanted.recipe)
            self._settings.next_embedder = None
            self._vectors.unmark_others(self.wanted.name)

    def _tidy(self) -> bool:
        stored = self._settings.embedder
        used = {self.wanted.name, *(stored[:1] if stored is not None else ())}
        return self._vectors.remove_others(used)
