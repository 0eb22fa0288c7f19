"""The embedding model that the settings name: the package that comes along, a model of sentence-transformers,
or a GGUF that llama.cpp runs. Each runs in a process of its own, which only the memory talks to."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from memory.errors import EmbedderUnavailable
from stevemin_chat.base import ConfigFileError, HubError, builtin_catalogue_path
from stevemin_chat.models import gguf_embedding
from stevemin_chat.models.catalogue import HUB_NAME, Catalogue, find_file
from stevemin_chat.models.hub import cached_folder

if TYPE_CHECKING:
    from memory import Embedder
    from memory.vectors import EmbeddingModel
    from stevemin_chat.base import MemorySection, Paths

__all__ = ["configured_embedder", "embedder_label", "reopened_embedder"]

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

    path = _path(paths, spec)
    if path is not None and path.is_dir():
        return folder_model(path, path.name)
    catalogue = _catalogue(paths)
    try:
        if path is None and spec in catalogue:
            path = catalogue.resolve(spec, paths.models_dir)
        if path is not None:
            return _gguf_model(path, spec)
        repo = spec if "/" in spec else f"{_USUAL_OWNER}/{spec}"
        if HUB_NAME.fullmatch(repo) and ":" not in repo and (folder := cached_folder(repo)) is not None:
            return folder_model(folder, repo)
        if (file := _pulled(spec, paths.models_dir)) is not None:
            return _gguf_model(file, spec)
    except ModelError as error:
        raise EmbedderUnavailable(str(error)) from error
    raise EmbedderUnavailable(
        f"The embedding model {spec} is not on this machine. Get it with: hf download {repo} "
        f"(a GGUF: stevemin models pull {spec}), or change embedder under [memory] in {paths.config_file}."
    )


def _gguf_model(path: Path, spec: str) -> EmbeddingModel:
    from engine import check_gguf
    from engine.llama import Pooling, pooled_model
    from memory.vectors import EmbeddingModel, fingerprint, named, usual_prefixes

    check_gguf(path)
    found = pooled_model(path)
    if found is None or not found.width:
        raise EmbedderUnavailable(f"{path} is no embedding model, or it is damaged: it cannot embed.")
    if found.pooling is Pooling.RANK:
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
            raise EmbedderUnavailable(f"There is no file or folder {path} with an embedding model.")
        return path.resolve() if looks_like or path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:  # "~nobody", a null character, a name too long
        raise EmbedderUnavailable(f"{spec!r} is no path of an embedding model: {error}.") from error


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
