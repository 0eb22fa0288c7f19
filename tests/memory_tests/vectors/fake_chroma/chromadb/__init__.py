"""Replaces chromadb in tests of the process around it: starts immediately, keeps its own file.

The worker of the index imports it when `fake_chroma` is on its PYTHONPATH.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rows = dict[str, Any]


class _Collection:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: Rows = pickle.loads(path.read_bytes()) if path.exists() else {}

    def upsert(self, ids: Sequence[str], embeddings: Any) -> None:
        self._keep(self._rows | dict(zip(ids, embeddings, strict=True)))

    def delete(self, ids: Sequence[str]) -> None:
        self._keep({name: row for name, row in self._rows.items() if name not in ids})

    def get(self, include: Sequence[str], ids: Sequence[str] | None = None) -> Rows:
        names = [name for name in (self._rows if ids is None else ids) if name in self._rows]
        return {"ids": names, "embeddings": [self._rows[name] for name in names]}

    def query(
        self, query_embeddings: Any, n_results: int, include: Sequence[str], ids: Sequence[str] | None = None
    ) -> Rows:
        rows = {name: row for name, row in self._rows.items() if ids is None or name in ids}
        far = {name: 1.0 - float(np.dot(row, query_embeddings[0])) for name, row in rows.items()}
        nearest = sorted(far, key=lambda name: far[name])[:n_results]
        return {"ids": [nearest], "distances": [[far[name] for name in nearest]]}

    def count(self) -> int:
        return len(self._rows)

    def _keep(self, rows: Rows) -> None:
        self._rows = rows
        self._path.write_bytes(pickle.dumps(rows))


class PersistentClient:
    def __init__(self, path: str, settings: object) -> None:
        self._folder = Path(path)

    def get_or_create_collection(self, name: str, **_: object) -> _Collection:
        return _Collection(self._folder / f"{name}.pickle")

    def close(self) -> None: ...


class HttpClient:
    """Waits for a server that never answers."""

    def __init__(self, host: str, settings: object) -> None:
        address, port = host.removeprefix("http://").split(":")
        with socket.create_connection((address, int(port))) as server:
            server.recv(1)
