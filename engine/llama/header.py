"""Reads the header of a GGUF file: llama.cpp's API tells only a part of it, and nothing of its arrays.

The package `gguf` reads headers, too, but makes an object for each of 150,000 tokens, which takes seconds.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["HeaderDamaged", "read_header", "read_tensor_names"]

_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING, _ARRAY = 8, 9
_LENGTH = _SCALARS[10]
_TYPE = _SCALARS[4]
_VERSIONS = (2, 3)
_LONGEST = 4096  # elements of an array that is read by default: one for each layer, but not for each token


class HeaderDamaged(ValueError):
    """The file is no GGUF, is of another version, or ends in the middle of its header."""


def read_header(path: Path, *, longest: int = _LONGEST) -> Mapping[str, Any]:
    """The metadata of a model file: numbers, strings and lists, by key.

    Args:
        longest: arrays with more elements are left out.

    Raises:
        HeaderDamaged
        OSError: the file cannot be read.
    """
    with _opened(path, longest) as reader:
        return reader.read()


def read_tensor_names(path: Path) -> frozenset[str]:
    """The names of the tensors in a model file.

    Raises:
        HeaderDamaged
        OSError: the file cannot be read.
    """
    with _opened(path, _LONGEST) as reader:
        reader.read()
        return frozenset(reader.tensor_names())


@contextmanager
def _opened(path: Path, longest: int) -> Iterator[_Reader]:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise HeaderDamaged("it does not start with the letters GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                yield _Reader(data, longest)
            except (struct.error, IndexError, OverflowError, UnicodeDecodeError, RecursionError) as error:
                raise HeaderDamaged(f"its header is damaged: {error}") from error


class _Reader:
    def __init__(self, data: mmap.mmap, longest: int) -> None:
        self._data = data
        self._longest = longest
        self._at = 4
        self._tensors = 0

    def read(self) -> dict[str, Any]:
        version = self._number(_TYPE)
        if version not in _VERSIONS:
            raise HeaderDamaged(f"version {version} of the format is not supported")
        self._tensors = self._number(_LENGTH)
        found: dict[str, Any] = {}
        for _ in range(self._number(_LENGTH)):
            key = self._string()
            value = self._value(self._number(_TYPE))
            if value is not None:
                found[key] = value
        return found

    def tensor_names(self) -> Iterator[str]:
        """Of each tensor; after `read`."""
        for _ in range(self._tensors):
            yield self._string()
            dimensions = self._number(_TYPE)
            self._at += dimensions * _LENGTH.size + _TYPE.size + _LENGTH.size  # sizes, type and place

    def _number(self, kind: struct.Struct) -> Any:
        (number,) = kind.unpack_from(self._data, self._at)
        self._at += kind.size
        return number

    def _string(self) -> str:
        length = self._number(_LENGTH)
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise IndexError("a text is longer than the file")
        return self._data[start : self._at].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, count = self._number(_TYPE), self._number(_LENGTH)
            return self._array(inner, count)
        if kind not in _SCALARS:
            raise IndexError(f"type {kind} is unknown")
        return self._number(_SCALARS[kind])

    def _array(self, inner: int, count: int) -> list[Any] | None:
        """None for an array that is too long; its end is found nevertheless."""
        if count <= self._longest:
            return [self._value(inner) for _ in range(count)]
        if inner == _STRING:
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(self._data, self._at)
                self._at += _LENGTH.size + length
        elif inner in _SCALARS:
            self._at += count * _SCALARS[inner].size
        else:
            raise IndexError(f"an array of {count} elements of type {inner}")
        return None
