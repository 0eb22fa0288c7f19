"""The only importer of chromadb: ids and vectors in one of its collections, in a folder or on a server.

Runs in the worker process of the index. chromadb is imported when it is first needed (0.9 s, 71 MB).
It receives neither text nor metadata, only passage ids and vectors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from memory.ports import Vectors

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.config import Settings

__all__ = ["BATCH", "PassageCollection", "batches", "load_chromadb", "open_folder", "open_server"]

BATCH = 1000  # ids in one request; SQLite and servers limit how many


class PassageCollection:
    """Vectors by passage id. Raises whatever chromadb raises.

    Args:
        client: is closed together with this.
        name: of the collection, which is created if it is missing.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._collection: Any = self._get_or_create()

    def search(
        self, vector: Vectors, count: int, within: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """The nearest passages with their cosine similarity, the most similar first.

        Args:
            within: only these passages; None: all. Chroma finds nearly all of the nearest among hundreds,
                and two thirds of them among thousands.
        """
        among = None if within is None else [str(number) for number in sorted(within)]
        found = self._collection.query(
            query_embeddings=[vector], n_results=count, ids=among, include=["distances"]
        )
        ids, distances = found["ids"][0], found["distances"][0]
        return [(int(number), 1.0 - float(distance)) for number, distance in zip(ids, distances, strict=True)]

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add or replace vectors; `ids` must not repeat."""
        for batch in batches(range(len(ids))):
            rows = slice(batch[0], batch[-1] + 1)
            self._collection.upsert(ids=[str(number) for number in ids[rows]], embeddings=vectors[rows])

    def remove(self, ids: Sequence[int]) -> None:
        """Hide vectors. Chroma leaves their bytes in its files; a server decides when to erase them."""
        for batch in batches(sorted(ids)):
            self._collection.delete(ids=[str(number) for number in batch])

    def ids(self) -> set[int]:
        """Ids of all passages in it."""
        return {int(number) for number in self._collection.get(include=[])["ids"]}

    def is_empty(self) -> bool:
        """Whether it has no passages."""
        return not self._collection.count()

    def vectors(self, ids: Sequence[int]) -> tuple[list[int], Vectors]:
        """Stored vectors of at most `BATCH` passages, with their ids in the same order."""
        got = self._collection.get(ids=[str(number) for number in ids], include=["embeddings"])
        return [int(number) for number in got["ids"]], np.asarray(got["embeddings"], dtype=np.float32)

    def clear(self) -> None:
        """Replace it with an empty collection."""
        self._client.delete_collection(self._name)
        self._collection = self._get_or_create()

    def close(self) -> None:
        """Release files or connections."""
        self._client.close()

    def _get_or_create(self) -> Any:
        return self._client.get_or_create_collection(
            self._name, configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )


def batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split into batches of at most `BATCH` ids."""
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def load_chromadb() -> None:
    """Import it now, to distinguish a missing or broken package from a damaged index."""
    import chromadb  # noqa: F401


def open_folder(path: Path, name: str) -> PassageCollection:
    """The collection in a folder of its own. A damaged HNSW file in it crashes the process (Chroma #7238)."""
    import chromadb

    client = cast("Client", chromadb.PersistentClient(path=str(path), settings=_settings()))
    return _collection_of(client, name)


def open_server(url: str, prefix: str, name: str) -> PassageCollection:
    """The collection on a Chroma server; deletes other collections with the same prefix."""
    import chromadb

    # The whole URL is passed as the host, so that its path and its port are kept.
    client = cast("Client", chromadb.HttpClient(host=url, settings=_settings()))
    for other in client.list_collections():
        if other.name.startswith(prefix) and other.name != name:
            client.delete_collection(other.name)
    return _collection_of(client, name)


def _collection_of(client: Client, name: str) -> PassageCollection:
    try:
        return PassageCollection(client, name)
    except BaseException:
        client.close()
        raise


def _settings() -> Settings:
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)
