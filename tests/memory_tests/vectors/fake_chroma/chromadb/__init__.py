"""Replaces chromadb in tests of what is around it: starts immediately, keeps its own file.

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
        self.metadata, self._rows = pickle.loads(path.read_bytes())

    def upsert(self, ids: Sequence[str], embeddings: Any, metadatas: Sequence[Rows]) -> None:
        self._keep(self._rows | dict(zip(ids, zip(embeddings, metadatas, strict=True), strict=True)))

    def delete(self, ids: Sequence[str]) -> None:
        self._keep({name: row for name, row in self._rows.items() if name not in ids})

    def count(self) -> int:
        return len(self._rows)

    def get(self, include: Sequence[str]) -> Rows:
        return {"ids": list(self._rows)}

    def query(self, query_embeddings: Any, n_results: int, include: Sequence[str], where: Any) -> Rows:
        hidden = where["chat"]["$nin"] if where else ()
        rows = {name: row for name, row in self._rows.items() if row[1]["chat"] not in hidden}
        far = {name: 1.0 - float(np.dot(row[0], query_embeddings[0])) for name, row in rows.items()}
        nearest = sorted(far, key=lambda name: far[name])[:n_results]
        return {
            "ids": [nearest],
            "distances": [[far[name] for name in nearest]],
            "metadatas": [[rows[name][1] for name in nearest]],
        }

    def _keep(self, rows: Rows) -> None:
        self._rows = rows
        self._path.write_bytes(pickle.dumps((self.metadata, rows)))


class PersistentClient:
    def __init__(self, path: str, settings: object) -> None:
        self._folder = Path(path)
        self._folder.mkdir(exist_ok=True)

    def get_or_create_collection(self, name: str, *, metadata: Rows, **_: object) -> _Collection:
        if not self._file(name).exists():
            self._file(name).write_bytes(pickle.dumps((metadata, {})))
        return _Collection(self._file(name))

    def delete_collection(self, name: str) -> None:
        self._file(name).unlink()

    def close(self) -> None: ...

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.pickle"


class HttpClient:
    """Waits for a server that never answers."""

    def __init__(self, host: str, settings: object) -> None:
        address, port = host.removeprefix("http://").split(":")
        with socket.create_connection((address, int(port))) as server:
            server.recv(1)
