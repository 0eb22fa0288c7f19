"""The program of the index process, and the only importer of chromadb: passage ids, their chats and vectors.

Chroma's bindings hold the interpreter's lock while they write (1,000 vectors: a quarter of a second, in which
no token and no key would get through), and a damaged search graph crashes the process that reads it.

Run as a script, so it imports nothing of ours; the other side imports the constants below. A request is a
pickled (name of a method of `Index`, arguments); the first is "open". Each is answered by (OK, value) or
(FAILED, reason). When the other end of the socket closes, which the system does when that process dies, the
index is closed and its stamp written: even a chat that is killed leaves a valid index behind.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BATCH", "FAILED", "NICENESS", "OK", "Index", "main"]

OK: Final = "ok"
FAILED: Final = "failed"
# Adding 100,000 vectors takes minutes on threads of Chroma's own, and answers are computed meanwhile.
NICENESS: Final = 5
BATCH: Final = 1000  # vectors in one request; SQLite and servers limit how many

_CHAT = "chat"
_SURPLUS = 4
_LONGEST_REASON = 300  # characters


class Index:
    """One Chroma collection. Raises whatever chromadb raises."""

    _client: Any = None
    _collection: Any
    _place: str
    _stamp: tuple[str, dict[str, Any]] | None = None

    def open(
        self, place: str, name: str, metadata: dict[str, Any], stamp: tuple[str, dict[str, Any]] | None
    ) -> None:
        """Open or create a collection; one with other metadata is deleted.

        Args:
            place: a folder of its own, or the URL of a server.
            stamp: a file and what to write to it, once everything is closed.
        """
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        # The whole URL is passed as the host, so that its path and its port are kept.
        client: Any = (
            chromadb.HttpClient(host=place, settings=settings)
            if "://" in place
            else chromadb.PersistentClient(path=place, settings=settings)
        )
        wanted = {
            "metadata": metadata,
            "configuration": {"hnsw": {"space": "cosine"}},
            "embedding_function": None,
        }
        self._collection = client.get_or_create_collection(name, **wanted)
        if self._collection.metadata != metadata:
            client.delete_collection(name)
            self._collection = client.get_or_create_collection(name, **wanted)
        if self._collection.count():  # a damaged search graph must show now
            self._query([1.0] * metadata["dimension"], 1)
        self._client, self._place, self._stamp = client, place, stamp

    def search(
        self, vector: NDArray[np.float32], count: int, hidden: Sequence[int] = ()
    ) -> list[tuple[int, float]]:
        """The nearest passages with their cosine similarity, the most similar first.

        Args:
            hidden: chats whose passages do not count.
        """
        # Chroma looks up the chat of every passage it may return: half a second in 100,000. So first ask for
        # more than is wanted: if enough of them may be seen, these are the nearest of all that may.
        unseen = set(hidden)
        found = self._query(vector, count * _SURPLUS if hidden else count)
        seen = [(passage, score) for passage, score, chat in found if chat not in unseen]
        if len(seen) < count and len(seen) < len(found):
            found = self._query(vector, count, {_CHAT: {"$nin": list(hidden)}})
            seen = [(passage, score) for passage, score, _ in found]
        return seen[:count]

    def add(self, ids: Sequence[int], chats: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Add or replace at most `BATCH` vectors; `ids` must not repeat."""
        self._collection.upsert(
            ids=[str(number) for number in ids],
            embeddings=vectors,
            metadatas=[{_CHAT: chat} for chat in chats],
        )

    def remove(self, ids: Sequence[int]) -> None:
        """Remove vectors. Chroma leaves their bytes in its files; a server decides when to erase them."""
        for start in range(0, len(ids), BATCH):
            self._collection.delete(ids=[str(number) for number in ids[start : start + BATCH]])

    def ids(self) -> list[int]:
        """Ids of all passages in it."""
        return [int(number) for number in self._collection.get(include=[])["ids"]]

    def close(self) -> None:
        """Write everything to the disk, then the stamp, or a power cut could leave it on damaged files."""
        if self._client is None:
            return
        self._client.close()
        if self._stamp is not None:
            path, content = self._stamp
            for file in Path(self._place).rglob("*"):
                if file.is_file():
                    _sync(file)
            written = Path(f"{path}.new")
            written.write_text(json.dumps(content), encoding="utf-8")
            _sync(written)
            written.replace(path)

    def _query(self, vector: Any, count: int, where: Any = None) -> list[tuple[int, float, int]]:
        found = self._collection.query(
            query_embeddings=[vector], n_results=count, where=where, include=["distances", "metadatas"]
        )
        ids, distances, metadatas = (found[name][0] for name in ("ids", "distances", "metadatas"))
        return [
            (int(passage), 1.0 - float(distance), metadata[_CHAT])
            for passage, distance, metadata in zip(ids, distances, metadatas, strict=True)
        ]


def main(descriptor: str) -> None:
    """Serve until the other side is gone."""
    # Ctrl-C and a closed terminal reach every process of the terminal; only the chat acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(NICENESS)
    connection: Connection[Any, Any] = Connection(int(descriptor))
    index = Index()
    with suppress(EOFError, OSError):
        while True:
            name, arguments = pickle.loads(connection.recv_bytes())
            try:
                answer = OK, getattr(index, name)(*arguments)
            except Exception as exc:
                reason = " ".join(str(exc).split()).rstrip(".")[:_LONGEST_REASON] or type(exc).__name__
                answer = FAILED, reason
            connection.send_bytes(pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL))
    index.close()


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
