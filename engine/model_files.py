"""Where the files of models are on this machine."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from engine.errors import ModelNotFound
from engine.model_spec import ModelSpec, stays_inside

__all__ = ["find_file", "hub_file", "installed_file", "is_installed", "model_file"]

_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[\w.+-][\w.+/-]*\.gguf))?", re.ASCII)
# llama.cpp loads a split model by its first part and finds the others itself.
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


def hub_file(repo: str, file: str, models_dir: Path) -> Path:
    """Where a file pulled from the Hub lives."""
    return models_dir.joinpath(*repo.split("/"), *file.split("/"))


def model_file(spec: ModelSpec, models_dir: Path) -> Path | None:
    """Where the model's file is, or would be once pulled; None when its package is not installed."""
    if spec.path is not None:
        return spec.path
    assert spec.file is not None
    if spec.package is not None:
        return _package_file(spec.package, spec.file)
    assert spec.repo is not None
    return hub_file(spec.repo, spec.file, models_dir)


def is_installed(spec: ModelSpec, models_dir: Path) -> bool:
    """Whether the model's file is on this machine."""
    file = model_file(spec, models_dir)
    return file is not None and _is_file(file)


def installed_file(spec: ModelSpec, models_dir: Path) -> Path:
    """The model's file.

    Raises:
        ModelNotFound: it is not on this machine; says how to get it.
    """
    file = model_file(spec, models_dir)
    if file is not None and _is_file(file):
        return file
    if spec.path is not None:
        raise ModelNotFound(f"The file of the model {spec.name} is not there: {spec.path}")
    if spec.package is not None:
        raise ModelNotFound(
            f"The model {spec.name} comes with the Python package {spec.package}, which is not installed. "
            "Install stevemin again."
        )
    size = f" ({spec.size_bytes / 1e9:.1f} GB)" if spec.size_bytes else ""
    raise ModelNotFound(f"{spec.label} is not downloaded{size}. Run: stevemin models pull {spec.name}")


def find_file(name: str, models_dir: Path) -> Path | None:
    """The file behind a path or a pulled "OWNER/REPO[:FILE]"; None when the name is neither.

    Raises:
        ModelNotFound: the name is one of these, and there is no such file.
    """
    hub = _HUB_NAME.fullmatch(name)
    if hub:
        pulled = _pulled(hub["repo"], hub["file"], models_dir)
        if pulled is not None:
            return pulled
    if hub and (hub["file"] or not _looks_like_path(name)):
        raise ModelNotFound(f"{name} is not downloaded. Run: stevemin models pull {name}")
    return _existing_file(_expanded(name)) if _looks_like_path(name) else None


def _package_file(package: str, file: str) -> Path | None:
    # find_spec does not import a top-level package: the starter model's would load another llama.cpp binding.
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)), file)


def _pulled(repo: str, file: str | None, models_dir: Path) -> Path | None:
    if not stays_inside(repo) or not stays_inside(file or "any"):
        return None
    if file is not None:
        path = hub_file(repo, file, models_dir)
        return path if _is_file(path) else None
    everything = sorted(models_dir.joinpath(*repo.split("/")).rglob("*.gguf"))
    files = [path for path in everything if not _LATER_PART.search(path.name)]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ModelNotFound(f"{repo} has several downloaded files; name one as {repo}:FILE ({names}).")
    return files[0] if files else None


def _looks_like_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or name.startswith(("/", "~", ".")) or _is_file(Path(name))


def _existing_file(path: Path) -> Path:
    if _is_file(path):
        return path.resolve()
    what = "is a folder, not a GGUF file" if path.is_dir() else "does not exist or cannot be read"
    raise ModelNotFound(f"The model file {path} {what}.")


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # "~someone" with no such user
        return Path(name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False
