"""Pulls models from the Hugging Face Hub, and lists and removes the pulled ones.

The hub is `HF_ENDPOINT`, read at each call; the token is huggingface_hub's.
"""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stevemin_chat.base import DiskTooSmall, HubError, HubRefused, UsageProblem, prepare_folder
from stevemin_chat.models.catalogue import HUB_NAME, gguf_files, hub_file, part_names
from stevemin_chat.models.download import Progress, fetch, partial_files, remaining_bytes
from stevemin_chat.models.hub import RemoteFile, connection, list_files
from stevemin_chat.text import and_more, size

__all__ = ["Pulled", "choose_files", "pull", "pulled_models", "remove_pulled", "split_name"]

_USUAL_QUANTIZATION = re.compile(r"(?<![a-z0-9])q4_k_m(?![a-z0-9])", re.IGNORECASE)
_SPARE_BYTES = 64 << 20  # left free on the disk beside a download, for the database and the logs
_SHOWN = 12  # files, where several match


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that was pulled.

    Args:
        name: "OWNER/REPO:FILE", as commands take it; FILE is the first part of a split model.
        files: all parts in order.
        size_bytes: of all parts.
    """

    name: str
    files: tuple[Path, ...]
    size_bytes: int

    @property
    def path(self) -> Path:
        return self.files[0]


def split_name(spec: str) -> tuple[str, str | None]:
    """Split "OWNER/REPO[:FILE]" into repository and file.

    Raises:
        UsageProblem: it is not of that form.
    """
    found = HUB_NAME.fullmatch(spec)
    if not found:
        raise UsageProblem(f"{spec!r} is neither a name of the catalogue nor OWNER/REPO[:FILE].")
    return found["repo"], found["file"]


def pull(
    spec: str, models_dir: Path, *, sha256: str | None = None, on_progress: Progress | None = None
) -> Pulled:
    """Download a model, resuming an earlier download. Blocking.

    Args:
        spec: "OWNER/REPO[:FILE]".
        sha256: the hash that a model of one file must have, besides the hub's own.

    Raises:
        UsageProblem: the name has another form.
        HubError: see its tree; nothing is written outside `models_dir`, whatever names the hub gives.
        OSError: a file cannot be written.
    """
    repo, wanted = split_name(spec)
    with connection() as endpoint:
        listing = list_files(repo, endpoint)
        chosen = choose_files(repo, listing.files, wanted)
        targets = [hub_file(repo, file.path, models_dir) for file in chosen]
        _check_links(targets, models_dir)
        prepare_folder(targets[0].parent)
        _check_space(chosen, targets)
        for file, target in zip(chosen, targets, strict=True):
            fetch(listing, file, target, sha256=sha256 if len(chosen) == 1 else None, on_progress=on_progress)
    return Pulled(f"{repo}:{chosen[0].path}", tuple(targets), sum(file.size for file in chosen))


def choose_files(repo: str, files: Sequence[RemoteFile], wanted: str | None) -> list[RemoteFile]:
    """The files to fetch: the named model, the only one, or the one in Q4_K_M; with all its parts.

    Raises:
        HubRefused: no such file, no GGUF file at all, or several that match; lists them.
    """
    models = {file.path: file for file in files if file.path.lower().endswith(".gguf")}
    heads = sorted(path for path in models if _is_head(path))
    if not heads:
        raise HubRefused(
            f"{repo} holds no GGUF file. Look for a repository of the same model with GGUF in its name."
        )
    chosen = _only(heads) if wanted is None else _named(wanted, heads)
    if chosen is None:
        raise HubRefused(_which(repo, wanted, heads))
    missing = [path for path in part_names(chosen) if path not in models]
    if missing:
        raise HubRefused(f"{repo} lacks a part of {chosen}: {missing[0]}.")
    return [models[path] for path in part_names(chosen)]


def pulled_models(models_dir: Path) -> list[Pulled]:
    """The completely pulled models, by name. Files that no repository can have put there are skipped."""
    found = []
    for path in gguf_files(models_dir):
        name = _hub_name(path.relative_to(models_dir))
        parts = [path.with_name(part) for part in part_names(path.name)]
        if name is not None and all(part.is_file() for part in parts):
            total = sum(part.stat().st_size for part in parts)
            found.append(Pulled(name, tuple(parts), total))
    return found


def _hub_name(path: Path) -> str | None:
    """The name of a file in the models folder; None in a person's own folder, such as "My Models"."""
    owner, *rest = path.parts
    name = f"{owner}/{rest[0]}:{'/'.join(rest[1:])}" if len(rest) > 1 else ""
    return name if HUB_NAME.fullmatch(name) else None


def remove_pulled(path: Path, models_dir: Path) -> list[Path]:
    """Delete a pulled model with all its parts and unfinished downloads; returns the deleted files.

    Raises:
        HubError: the file does not lie in `models_dir`.
        OSError: a file cannot be deleted.
    """
    if not path.is_relative_to(models_dir):
        raise HubError(f"{path} was not pulled by stevemin; delete the file yourself.")
    removed = []
    for name in part_names(path.name):
        part = path.with_name(name)
        for file in (part, *partial_files(part)):
            if file.exists():
                file.unlink()
                removed.append(file)
    folder = path.parent
    while folder != models_dir and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
    return removed


def _is_head(path: str) -> bool:
    return part_names(path)[0].lower() == path.lower() and not Path(path).name.lower().startswith("mmproj")


def _only(heads: Sequence[str]) -> str | None:
    if len(heads) == 1:
        return heads[0]
    usual = [path for path in heads if _USUAL_QUANTIZATION.search(path)]
    return usual[0] if len(usual) == 1 else None


def _named(wanted: str, heads: Sequence[str]) -> str | None:
    first = part_names(wanted)[0].lower()
    exact = [path for path in heads if path.lower() in (first, f"{first}.gguf")]
    by_name = [path for path in heads if path.rpartition("/")[2].lower() in (first, f"{first}.gguf")]
    found = exact or by_name
    return found[0] if len(found) == 1 else None


def _which(repo: str, wanted: str | None, heads: Sequence[str]) -> str:
    if wanted is None:
        listed = f"{', '.join(heads[:_SHOWN])} {and_more(len(heads), _SHOWN)}".rstrip()
        return f"{repo} holds several models; name one as {repo}:FILE: {listed}."
    near = difflib.get_close_matches(wanted.lower(), [path.lower() for path in heads], n=1, cutoff=0.3)
    nearest = next((path for path in heads if near and path.lower() == near[0]), heads[0])
    return f"{repo} has no file {wanted!r}. Did you mean {nearest}?"


def _check_links(targets: Sequence[Path], models_dir: Path) -> None:
    """A link in the models folder must not lead a download out of it."""
    home = models_dir.resolve()
    for target in targets:
        if target.is_symlink() or not target.parent.resolve().is_relative_to(home):
            raise HubRefused(f"{target} leads out of the models folder by a link. Remove the link first.")


def _check_space(files: Sequence[RemoteFile], targets: Sequence[Path]) -> None:
    missing = sum(remaining_bytes(file, target) for file, target in zip(files, targets, strict=True))
    folder = targets[0].parent
    free = shutil.disk_usage(folder).free
    if missing and missing + _SPARE_BYTES > free:
        raise DiskTooSmall(f"The download needs {size(missing)} more, but {folder} has {size(free)} free.")
