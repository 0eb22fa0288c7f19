"""The models of the catalogue and the pulled ones as one list: what each is, and where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelNotFound
from stevemin_chat.base import HubError
from stevemin_chat.models.catalogue import (
    Catalogue,
    ModelSpec,
    hub_file,
    model_file,
    part_names,
    stays_inside,
    vram_words,
)
from stevemin_chat.models.download import partial_files
from stevemin_chat.models.pulled import Pulled, pulled_models, split_name
from stevemin_chat.text import size

__all__ = [
    "HubSource",
    "ListedModel",
    "Removable",
    "find_model",
    "hub_source",
    "listed_models",
    "removable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as lists show it.

    Args:
        id: the name that commands take.
        installed: its file is on this machine.
        path: of its file, also before it is pulled.
        vram_gib: of the weights and the KV cache of 8,192 tokens.
    """

    id: str
    title: str
    installed: bool
    path: Path | None
    size_bytes: int | None
    description: str = ""
    parameters: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    vram_gib: float | None = None
    licence: str | None = None
    gated: bool = False
    repo: str | None = None
    file: str | None = None
    package: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"path": str(self.path) if self.path is not None else None}

    def facts(self) -> list[tuple[str, str]]:
        """The rows of `stevemin models info`; unknown values are empty."""
        return [
            ("title", self.title),
            ("about", self.description),
            ("parameters", self.parameters or ""),
            ("quantization", self.quantization or ""),
            ("context", f"{self.context_length:,} tokens" if self.context_length else ""),
            ("size", size(self.size_bytes) if self.size_bytes else ""),
            (
                "VRAM or RAM",
                f"{vram_words(self.vram_gib)} with a context of 8,192 tokens" if self.vram_gib else "",
            ),
            ("licence", (self.licence or "") + (" (gated on the hub)" if self.gated else "")),
            ("hub", f"{self.repo}:{self.file}" if self.repo else ""),
            ("package", self.package or ""),
            ("file", str(self.path) if self.installed else f"not here; run: stevemin models pull {self.id}"),
        ]

    def row(self) -> tuple[str, ...]:
        """The columns of `stevemin models list`."""
        return (
            self.id,
            size(self.size_bytes) if self.size_bytes else "-",
            vram_words(self.vram_gib) or "-",
            f"{self.context_length:,}" if self.context_length else "-",
            self.licence or "-",
            "yes" if self.installed else "gated" if self.gated else "",
        )


def listed_models(catalogue: Catalogue, models_dir: Path) -> list[ListedModel]:
    """The catalogue in its order, then the other models that were pulled."""
    listed = [_from_spec(spec, models_dir) for spec in catalogue]
    known = {entry.path for entry in listed}
    return listed + [_from_pulled(pulled) for pulled in pulled_models(models_dir) if pulled.path not in known]


def find_model(name: str, catalogue: Catalogue, models_dir: Path) -> ListedModel:
    """A model by its name in the catalogue, as "OWNER/REPO[:FILE]", or by the path of its file.

    Raises:
        engine.ModelNotFound: there is none; suggests the nearest.
    """
    if name in catalogue:
        return _from_spec(catalogue.get(name), models_dir)
    path = catalogue.resolve(name, models_dir)
    for pulled in pulled_models(models_dir):
        if pulled.path == path:
            return _from_pulled(pulled)
    return ListedModel(id=name, title=path.name, installed=True, path=path, size_bytes=path.stat().st_size)


def _from_spec(spec: ModelSpec, models_dir: Path) -> ListedModel:
    path = model_file(spec, models_dir)
    here = path is not None and path.is_file()
    return ListedModel(
        id=spec.name,
        title=spec.label,
        installed=here,
        path=path,
        size_bytes=spec.size_bytes or (path.stat().st_size if path is not None and here else None),
        description=spec.description,
        parameters=spec.parameters,
        quantization=spec.quantization,
        context_length=spec.context_length,
        vram_gib=spec.vram_gib,
        licence=spec.licence,
        gated=spec.gated,
        repo=spec.repo,
        file=spec.file,
        package=spec.package,
    )


def _from_pulled(pulled: Pulled) -> ListedModel:
    repo, file = split_name(pulled.name)
    return ListedModel(
        id=pulled.name,
        title=pulled.path.stem,
        installed=True,
        path=pulled.path,
        size_bytes=pulled.size_bytes,
        repo=repo,
        file=file,
    )


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a model is fetched from.

    Args:
        spec: "OWNER/REPO[:FILE]".
        sha256: from the catalogue.
        path: set when there is nothing to fetch: the file is part of a package, or the user's own.
    """

    spec: str
    sha256: str | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Removable:
    """A pulled model, complete or not: the first file, and the bytes that deleting it frees."""

    path: Path
    size_bytes: int


def hub_source(name: str, catalogue: Catalogue, models_dir: Path) -> HubSource:
    """Where to fetch a model from.

    Raises:
        engine.ModelNotFound: not in the catalogue, or its package is missing.
        UsageProblem: neither a name nor OWNER/REPO[:FILE].
    """
    if name in catalogue:
        spec = catalogue.get(name)
        if spec.path is not None or spec.package is not None:
            return HubSource(name, path=catalogue.resolve(name, models_dir))
        return HubSource(f"{spec.repo}:{spec.file}", spec.sha256)
    if "/" not in name:
        catalogue.get(name)
    split_name(name)
    return HubSource(name)


def removable(name: str, catalogue: Catalogue, models_dir: Path) -> Removable:
    """The files that `remove_pulled` would delete for a model.

    Raises:
        HubError: stevemin did not download it.
        engine.ModelNotFound: nothing of that name, or it is not here.
    """
    path = _removable_path(name, catalogue, models_dir)
    parts = [path.with_name(part) for part in part_names(path.name)]
    files = [file for part in parts for file in (part, *partial_files(part)) if file.is_file()]
    if not files:
        raise ModelNotFound(f"{name} is not downloaded; there is nothing to delete.")
    return Removable(path, sum(file.stat().st_size for file in files))


def _removable_path(name: str, catalogue: Catalogue, models_dir: Path) -> Path:
    if name in catalogue:
        spec = catalogue.get(name)
        if spec.package is not None and spec.path is None:
            raise HubError(
                f"{name} comes with the Python package {spec.package}; it cannot be removed separately."
            )
        if spec.path is not None:
            raise HubError(f"{name} is your own file {spec.path}; delete it yourself if you want it gone.")
        assert spec.repo is not None
        assert spec.file is not None
        return hub_file(spec.repo, spec.file, models_dir)
    if ":" in name:
        repo, file = split_name(name)
        if file is not None and stays_inside(file):
            return hub_file(repo, file, models_dir)
    return catalogue.resolve(name, models_dir)
