"""The program of the index process: opens a folder or a server's collection, then answers requests.

The end of its input closes the index, so that even a chat that is killed leaves a clean folder behind.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from memory.errors import IndexUnavailable
from memory.vectors.folder import IndexFolder
from memory.vectors.index_process import FAILED, OK, REQUESTS, WORKING, IndexSpec

if TYPE_CHECKING:
    from memory.vectors.collections import PassageCollection
    from memory.vectors.shards import ShardedIndex

__all__ = ["main", "open_served"]

_LONGEST_REASON = 300  # characters
_LARGEST_FILE = 4 << 30  # a full shard takes 30 MB at 384 dimensions


def main() -> None:
    """Read a spec, open its index, serve until the input ends."""
    _leave_signals_to_the_chat()
    os.umask(0o077)
    _limit_file_size()
    requests, replies = sys.stdin.buffer, _own_stdout()
    spec: IndexSpec = pickle.load(requests)
    try:
        index, rebuilt = _open(spec, replies)
    except Exception as exc:
        _reply(replies, FAILED, _sentence(exc, spec))
        return
    with closing(index):
        _reply(replies, OK, rebuilt)
        _serve(index, spec, requests, replies)


def _serve(
    index: ShardedIndex | PassageCollection, spec: IndexSpec, requests: BinaryIO, replies: BinaryIO
) -> None:
    while True:
        try:
            name, args = pickle.load(requests)
        except EOFError:
            return
        assert name in REQUESTS
        try:
            answer = getattr(index, name)(*args)
        except Exception as exc:
            _reply(replies, FAILED, _sentence(exc, spec))
        else:
            _reply(replies, OK, answer)


def _open(spec: IndexSpec, replies: BinaryIO) -> tuple[ShardedIndex | PassageCollection, bool]:
    """The index, and whether it lacks passages. Reports when chromadb is loaded."""
    from memory.vectors.shards import LAYOUT, ShardedIndex

    if spec.url is not None:
        return _open_server(spec, spec.url, replies)
    # The lock before the library: a second chat retries, and should cost little.
    folder = IndexFolder(spec.folder, spec.collection("passages", LAYOUT), spec.store)
    _load_library(replies)
    index = ShardedIndex(folder, fresh=spec.fresh, on_progress=lambda: _reply(replies, WORKING, None))
    return index, index.rebuilt


def _open_server(spec: IndexSpec, url: str, replies: BinaryIO) -> tuple[PassageCollection, bool]:
    _load_library(replies)
    served = open_served(spec, url)
    return served, served.is_empty()


def _load_library(replies: BinaryIO) -> None:
    from memory.vectors.collections import load_chromadb

    try:
        load_chromadb()
    except Exception as exc:
        raise IndexUnavailable(f"The vector index needs chromadb, which cannot be loaded: {exc}.") from exc
    _reply(replies, OK, None)


def _leave_signals_to_the_chat() -> None:
    """Ctrl-C and a closed terminal reach the whole process group; only the chat acts on them."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # closes the index on the way out


def _limit_file_size() -> None:
    """A torn search graph can make Chroma write a file of hundreds of gigabytes (Chroma #7510)."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = _LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, _LARGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def _own_stdout() -> BinaryIO:
    """The pipe to the chat, moved to a descriptor into which no library prints."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _reply(replies: BinaryIO, kind: str, value: object) -> None:
    # A chat that is gone reads no reply; the end of the input follows.
    with suppress(BrokenPipeError):
        pickle.dump((kind, value), replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


def _sentence(exc: Exception, spec: IndexSpec) -> str:
    if isinstance(exc, IndexUnavailable):
        return str(exc)
    reason = " ".join(str(exc).split()).rstrip(".")[:_LONGEST_REASON] or type(exc).__name__
    return f"The vector index at {spec.where} failed: {reason}."


_OWNER_FILE = "server-owner"


def open_served(spec: IndexSpec, url: str) -> PassageCollection:
    """This installation's collection on the server, for this store.

    Passage ids are row numbers, the same in everyone's database, so the collection's name contains the
    identity of the store, and an id that is made once and stored in the folder. An embedded index in that
    folder is deleted: nothing would remove forgotten vectors from it any more.

    Raises:
        IndexUnavailable: the folder cannot be written.
    """
    # Another stevemin may still have it open, started before the address was set.
    with suppress(IndexUnavailable), closing(IndexFolder(spec.folder, "")) as embedded:
        embedded.discard()
    from memory.vectors.collections import open_server

    prefix = f"stevemin-{_owner(spec.folder)}"
    return open_server(url, f"{prefix}-", spec.collection(prefix, spec.store))


def _owner(folder: Path) -> str:
    path = folder / _OWNER_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise IndexUnavailable(f"{path} cannot be read or written: {exc}.") from exc
