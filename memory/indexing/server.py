"""The vector index on a Chroma server, for those who share one."""

from __future__ import annotations

import uuid
from contextlib import closing, suppress
from pathlib import Path

from memory.errors import IndexUnavailable
from memory.indexing.chroma import PassageCollection, open_server
from memory.indexing.folder import IndexFolder
from memory.indexing.protocol import IndexSpec

__all__ = ["open_served"]

_OWNER_FILE = "server-owner"


def open_served(spec: IndexSpec, url: str) -> PassageCollection:
    """This installation's collection on the server.

    Passage ids are row numbers, the same in everyone's database, so the collection's name carries an id
    that is made once and kept in the folder. Vectors of an embedded index are deleted from that folder:
    nobody would take forgotten ones out of it any more.

    Raises:
        IndexUnavailable: the folder cannot be written.
    """
    # Another stevemin may still have it open, from before the address was set.
    with suppress(IndexUnavailable), closing(IndexFolder(spec.folder, "")) as embedded:
        embedded.discard()
    prefix = f"stevemin-{_owner(spec.folder)}"
    return open_server(url, f"{prefix}-", spec.collection(prefix))


def _owner(folder: Path) -> str:
    path = folder / _OWNER_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise IndexUnavailable(f"{path} cannot be read or written: {exc}.") from exc
