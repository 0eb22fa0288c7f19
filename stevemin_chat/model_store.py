"""Where a model would be fetched from, and what would be deleted of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelNotFound
from engine.models import Catalogue, hub_file
from stevemin_chat.download import partial_files
from stevemin_chat.errors import HubError
from stevemin_chat.hub import part_names, remove_pulled, split_name

__all__ = ["HubSource", "Removable", "hub_source", "in_catalogue", "removable", "remove_model"]


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a model is fetched from.

    Args:
        spec: "OWNER/REPO[:FILE]".
        sha256: from the catalogue.
        path: set when there is nothing to fetch: the file comes with a package, or is the user's own.
    """

    spec: str
    sha256: str | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Removable:
    """A pulled model, complete or not."""

    path: Path
    size_bytes: int


def hub_source(name: str, catalogue: Catalogue, models_dir: Path) -> HubSource:
    """Where to fetch a model from.

    Raises:
        engine.ModelNotFound: neither in the catalogue nor OWNER/REPO[:FILE], or its package is missing.
        UsageProblem: not of that form.
    """
    if in_catalogue(name, catalogue):
        spec = catalogue.get(name)
        if spec.path is not None or spec.package is not None:
            return HubSource(name, path=catalogue.resolve(name, models_dir))
        return HubSource(f"{spec.repo}:{spec.file}", spec.sha256)
    if "/" not in name:
        catalogue.get(name)
    split_name(name)
    return HubSource(name)


def removable(name: str, catalogue: Catalogue, models_dir: Path) -> Removable:
    """What `remove_model` would delete.

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


def remove_model(target: Removable, models_dir: Path) -> list[Path]:
    """Delete it; gives the files."""
    return remove_pulled(target.path, models_dir)


def _removable_path(name: str, catalogue: Catalogue, models_dir: Path) -> Path:
    if in_catalogue(name, catalogue):
        spec = catalogue.get(name)
        if spec.package is not None and spec.path is None:
            raise HubError(
                f"{name} comes with the Python package {spec.package}; it cannot be removed alone."
            )
        if spec.path is not None:
            raise HubError(f"{name} is your own file {spec.path}; delete it yourself if you want it gone.")
        assert spec.repo is not None
        assert spec.file is not None
        return hub_file(spec.repo, spec.file, models_dir)
    if ":" in name:
        repo, file = split_name(name)
        if file is not None and ".." not in file.split("/"):
            return hub_file(repo, file, models_dir)
    return catalogue.resolve(name, models_dir)


def in_catalogue(name: str, catalogue: Catalogue) -> bool:
    """Whether the catalogue has that name, in any case."""
    return name in catalogue or name.lower() in catalogue
