"""The models that the settings name for search by meaning: the package that comes along, one of
sentence-transformers, or a GGUF that llama.cpp runs. Each runs in a process of its own, which only the memory
talks to."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from memory.errors import EmbedderUnavailable, RerankerUnavailable
from stevemin_chat.base import ConfigFileError, HubError, builtin_catalogue_path
from stevemin_chat.models import gguf_embedding
from stevemin_chat.models.catalogue import HUB_NAME, Catalogue, find_file
from stevemin_chat.models.hub import cached_folder

if TYPE_CHECKING:
    from engine.llama import PooledModel, Pooling
    from memory import Embedder, Reranker
    from memory.vectors import EmbeddingModel
    from stevemin_chat.base import MemorySection, Paths

__all__ = ["configured_embedder", "configured_reranker", "embedder_label", "reopened_embedder"]

_log = logging.getLogger(__name__)

_USUAL_OWNER = "sentence-transformers"


def configured_embedder(paths: Paths, settings: MemorySection) -> Embedder:
    """The embedder of the settings; its process starts with the first text. Reads files.

    Raises:
        memory.EmbedderUnavailable: there is no such model on this machine, or its packages are not installed.
    """
    prefixes = settings.embedder_query_prefix, settings.embedder_passage_prefix
    return _embedder(paths, settings.embedder, prefixes)


def reopened_embedder(paths: Paths, recipe: str) -> Embedder | None:
    """An embedder of the past by its recipe; None if it is not on this machine any more."""
    try:
        wanted = json.loads(recipe) if recipe else {}
        prefixes = wanted.get("query_prefix"), wanted.get("passage_prefix")
        return _embedder(paths, wanted.get("embedder"), prefixes)
    except (EmbedderUnavailable, ValueError, AttributeError, TypeError) as error:
        _log.warning("The former embedding model cannot be used: %s", error)
        return None


def configured_reranker(paths: Paths, settings: MemorySection) -> Reranker | None:
    """The reranker of the settings, if there is one; its process starts with the first search. Reads files.

    Raises:
        memory.RerankerUnavailable: there is no such model on this machine, or its packages are not installed.
    """
    from memory.vectors import WorkerReranker, cross_encoder_folder, program

    if (spec := settings.reranker) is None:
        return None
    try:
        path = _located(paths, spec, "reranker")
        if path.is_dir():
            return WorkerReranker(cross_encoder_folder(path), spec)
        if _pooled(path).pooling is not _ranks():
            raise RerankerUnavailable(f"{path} is an embedding model: it cannot rerank.")
    except (EmbedderUnavailable, ModelError) as error:
        raise RerankerUnavailable(str(error)) from error
    return WorkerReranker(path, spec, command=program(gguf_embedding.__file__))


def embedder_label(name: str) -> str:
    """A person's name for an embedder: without what tells its versions apart."""
    return name.rpartition(":")[0] or name


def _embedder(paths: Paths, spec: str | None, given: Sequence[str | None]) -> Embedder:
    from memory.vectors import WorkerEmbedder, find_model, named, program

    if spec is None and given == (None, None):
        return WorkerEmbedder(find_model())
    found = find_model() if spec is None else _find(paths, spec)
    prefixes = found.prefixes._replace(
        **{name: text for name, text in zip(("query", "passage"), given, strict=True) if text is not None}
    )
    if prefixes.passage != found.prefixes.passage:
        label, _, digest = found.name.rpartition(":")
        found = replace(found, name=named(label, digest[:12], prefixes))
    recipe = {"embedder": spec if spec is None else _lasting(paths, spec)}
    recipe |= dict(zip(("query_prefix", "passage_prefix"), given, strict=True))
    model = replace(found, prefixes=prefixes, recipe=json.dumps(recipe))
    if model.path.is_file():
        return WorkerEmbedder(model, command=program(gguf_embedding.__file__))
    return WorkerEmbedder(model)


def _find(paths: Paths, spec: str) -> EmbeddingModel:
    from memory.vectors import folder_model

    try:
        path = _located(paths, spec, "embedder")
        if path.is_dir():
            return folder_model(path, path.name if _path(paths, spec) is not None else _repo(spec))
        return _gguf_model(path, spec)
    except ModelError as error:
        raise EmbedderUnavailable(str(error)) from error


def _located(paths: Paths, spec: str, key: str) -> Path:
    """The folder or the GGUF file that a setting names.

    Raises:
        EmbedderUnavailable, engine.ModelError: it is not on this machine.
    """
    path, catalogue = _path(paths, spec), _catalogue(paths)
    if path is None and spec in catalogue:
        path = catalogue.resolve(spec, paths.models_dir)
    if path is None and HUB_NAME.fullmatch(_repo(spec)) and ":" not in spec:
        path = cached_folder(_repo(spec))
    if path is None:
        path = _pulled(spec, paths.models_dir)
    if path is None:
        raise EmbedderUnavailable(
            f"The {'reranker' if key == 'reranker' else 'embedding model'} {spec} is not on this machine. "
            f"Get it with: hf download {_repo(spec)} (a GGUF: stevemin models pull {spec}), "
            f"or change {key} under [memory] in {paths.config_file}."
        )
    return path


def _repo(spec: str) -> str:
    """The repository on the Hub that a name means."""
    return spec if "/" in spec else f"{_USUAL_OWNER}/{spec}"


def _pooled(path: Path) -> PooledModel:
    from engine import check_gguf
    from engine.llama import pooled_model

    check_gguf(path)
    found = pooled_model(path)
    if found is None or not found.width:
        raise EmbedderUnavailable(f"{path} is damaged, or no model that embeds or reranks.")
    return found


def _ranks() -> Pooling:
    from engine.llama import Pooling  # loads llama.cpp

    return Pooling.RANK


def _gguf_model(path: Path, spec: str) -> EmbeddingModel:
    from memory.vectors import EmbeddingModel, fingerprint, named, usual_prefixes

    found = _pooled(path)
    if found.pooling is _ranks():
        raise EmbedderUnavailable(f"{path} is a rerank model: it cannot embed.")
    prefixes = usual_prefixes(f"{found.name} {path.stem} {spec}")
    try:
        digest = fingerprint(path)
    except OSError as error:
        raise EmbedderUnavailable(f"{path} cannot be read: {error.strerror or error}.") from error
    return EmbeddingModel(path, named(path.stem, digest, prefixes), found.width, prefixes)


def _path(paths: Paths, spec: str) -> Path | None:
    """What is meant by a path, which is relative to the settings' folder; None for a name."""
    try:
        path = paths.config_file.parent / Path(spec).expanduser()
        looks_like = spec.startswith(("/", "~", ".")) or (spec.lower().endswith(".gguf") and ":" not in spec)
        if looks_like and not path.exists():
            raise EmbedderUnavailable(f"There is no file or folder {path}.")
        return path.resolve() if looks_like or path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:  # "~nobody", a null character, a name too long
        raise EmbedderUnavailable(f"{spec!r} is no path of a model: {error}.") from error


def _lasting(paths: Paths, spec: str) -> str:
    path = _path(paths, spec)
    return spec if path is None else str(path)


def _catalogue(paths: Paths) -> Catalogue:
    try:
        return Catalogue.load(builtin_catalogue_path(), paths.user_catalogue)
    except ConfigFileError as error:
        _log.warning("The catalogue cannot be read: %s", error)
        return Catalogue({})


def _pulled(spec: str, models_dir: Path) -> Path | None:
    try:
        return find_file(spec, models_dir)
    except (ModelError, HubError):
        return None
