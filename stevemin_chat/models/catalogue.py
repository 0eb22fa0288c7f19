"""The model catalogue: reads `models.toml` files and finds the GGUF file behind a name.

The user's own catalogue overlays the one that ships, field by field: a user writes only what differs.
"""

from __future__ import annotations

import difflib
import importlib.util
import os.path
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine import check_gguf
from engine.errors import ModelNotFound
from stevemin_chat.base import ConfigFileError, HubRefused, line_of, read_toml
from stevemin_chat.text import size

__all__ = [
    "HUB_NAME",
    "Catalogue",
    "ModelSpec",
    "find_file",
    "gguf_files",
    "hub_file",
    "installed_file",
    "is_installed",
    "model_file",
    "part_names",
    "stays_inside",
    "vram_words",
]


class Catalogue:
    """Models by name, in the order of the files."""

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = dict(specs)

    @classmethod
    def load(cls, builtin: Path, user: Path | None = None) -> Catalogue:
        """Read the catalogue that ships and, if there is one, the user's.

        Raises:
            ConfigFileError: a file cannot be read or is not valid; names file, line and key.
        """
        merged: dict[str, dict[str, Any]] = {}
        specs: dict[str, ModelSpec] = {}
        for source in (builtin, user):
            if source is None:
                continue
            text, models = _read(source, optional=source is user)
            for name, fields in models.items():
                merged[name] = {**merged.get(name, {}), **_absolute(fields, source.parent)}
                specs[name] = _spec(name, merged[name], source, text)
        return cls(specs)

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        """Whether it has a model of that name, in any case."""
        return name in self._specs or (isinstance(name, str) and name.lower() in self._specs)

    def get(self, name: str) -> ModelSpec:
        """A model by its name, in any case.

        Raises:
            ModelNotFound: there is none; suggests the nearest.
        """
        spec = self._specs.get(name) or self._specs.get(name.lower())
        if spec is None:
            raise self._unknown(name)
        return spec

    def resolve(self, name: str, models_dir: Path) -> Path:
        """The GGUF file behind a catalogue name, a path, or a pulled "OWNER/REPO[:FILE]".

        Raises:
            ModelNotFound: nothing of that name, or its file is not on this machine.
        """
        if name in self:
            return installed_file(self.get(name), models_dir)
        found = find_file(name, models_dir)
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str) -> ModelNotFound:
        near = difflib.get_close_matches(name.lower(), self._specs, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        return ModelNotFound(f"No model is named {name!r}.{hint} All names: stevemin models list")


def _read(source: Path, *, optional: bool) -> tuple[str, dict[str, dict[str, Any]]]:
    """The file's text, and its models by name."""
    try:
        text, document = read_toml(source)
    except FileNotFoundError:
        if optional:
            return "", {}
        raise ConfigFileError(source, None, None, "The model catalogue is missing.") from None
    if unknown := sorted(set(document) - {"models"}):
        what = "There is no such setting; models are tables named [models.NAME]."
        raise ConfigFileError(source, unknown[0], line_of(text, unknown[:1]), what)
    models = document.get("models", {})
    for keys, fields in [(["models"], models), *_tables(models)]:
        if not isinstance(fields, dict):
            raise ConfigFileError(source, ".".join(keys), line_of(text, keys), "It must be a table.")
    return text, models


def _tables(models: Any) -> list[tuple[list[str], Any]]:
    named = models.items() if isinstance(models, dict) else ()
    return [(["models", name], fields) for name, fields in named]


def _absolute(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(path := fields.get("path"), str):
        return {**fields, "path": os.path.join(folder, os.path.expanduser(path))}
    return fields


def _spec(name: str, fields: dict[str, Any], source: Path, text: str) -> ModelSpec:
    keys = ["models", name]
    if "name" in fields:
        what = "The table's own name is the model's name."
        raise ConfigFileError(source, f"models.{name}.name", line_of(text, [*keys, "name"]), what)
    try:
        return ModelSpec.model_validate({**fields, "name": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        keys += [str(part) for part in first["loc"]]
        what = first["msg"].removeprefix("Value error, ")
        line = line_of(text, keys) or line_of(text, keys[:2])
        raise ConfigFileError(source, ".".join(keys), line, f"{what[:1].upper()}{what[1:]}.") from error


def stays_inside(path: str) -> bool:
    """Whether a relative path with forward slashes, from a hub or a person, stays inside its folder.

    Parts that another system would take for a drive or a folder, and characters that a terminal would obey,
    count as leaving it, too.
    """
    parts = path.split("/")
    return path.isprintable() and not any(
        part in ("", ".", "..") or part != part.strip() or "\\" in part or ":" in part for part in parts
    )


def _checked_file(file: str) -> str:
    if not file.endswith(".gguf") or not stays_inside(file):
        raise ValueError("a file is a relative path that ends in .gguf")
    return file


_MOST = 2**60  # of anything; more cannot be formatted, and is a slip of the keyboard
_REPO = r"[\w-][\w.-]*/[\w-][\w.-]*"
RepoId = Annotated[str, Field(pattern=f"^{_REPO}$")]
FileName = Annotated[str, AfterValidator(_checked_file)]


class ModelSpec(BaseModel):
    """One model of a catalogue.

    Its file is at `path`, or `file` inside the installed Python package `package`, or `file` in `repo` on the
    Hugging Face Hub: the first that is given.

    Args:
        context_length: tokens the model was trained for.
        parameters: their number, as people write it ("1.7B").
        size_bytes: of the file; approximate.
        vram_gib: of the weights and the KV cache of 8,192 tokens.
        gated: the Hub asks for an account that accepted the licence.
        reasoning_marks, tool_format: how the model marks what it thinks and the tools it calls, where its
            chat template does not tell; see `engine.EngineConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    title: str = ""
    description: str = ""
    repo: RepoId | None = None
    file: FileName | None = None
    package: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None
    path: Path | None = Field(default=None, strict=False)
    context_length: int | None = Field(default=None, ge=1, lt=_MOST)
    licence: str | None = None
    parameters: str | None = None
    quantization: str | None = None
    size_bytes: int | None = Field(default=None, ge=1, lt=_MOST)
    vram_gib: float | None = Field(default=None, gt=0, lt=_MOST)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    gated: bool = False
    reasoning_marks: tuple[str, str] | None = Field(default=None, strict=False)
    tool_format: str | None = None

    @property
    def engine_settings(self) -> dict[str, Any]:
        """What `engine.EngineConfig` takes from it."""
        return {"reasoning_marks": self.reasoning_marks, "tool_format": self.tool_format}

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.path is None and (self.file is None or (self.repo is None and self.package is None)):
            raise ValueError("give a path, or a file together with a repo or a package")
        return self

    @property
    def label(self) -> str:
        """The title, or the name where there is none."""
        return self.title or self.name


HUB_NAME = re.compile(rf"(?P<repo>{_REPO})(?::(?P<file>[^:]+))?", re.ASCII)  # OWNER/REPO[:FILE]
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def part_names(path: str) -> list[str]:
    """The names of all parts of a split GGUF, given any of them; a whole file is its own only part.

    llama.cpp loads a split model by its first part and finds the others itself.
    """
    found = _SPLIT.fullmatch(path)
    if not found:
        return [path]
    count = int(found["count"])
    return [f"{found['stem']}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]


def gguf_files(folder: Path) -> Iterator[Path]:
    """The models in a folder and all below it, in order: of a split one the first part."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".gguf" and part_names(path.name)[0].lower() == path.name.lower():
            yield path


def hub_file(repo: str, file: str, models_dir: Path) -> Path:
    """Where a file pulled from the Hub lives.

    Raises:
        HubRefused: the name leads out of the models folder.
    """
    if not (stays_inside(repo) and stays_inside(file)):
        raise HubRefused(f"The file name {file!r} of {repo} leads out of the models folder.")
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
        raise ModelNotFound(f"The file of the model {spec.name} is missing: {spec.path}")
    if spec.package is not None:
        raise ModelNotFound(
            f"The model {spec.name} comes with the Python package {spec.package}, which is not installed. "
            "Install stevemin again."
        )
    download = f" ({size(spec.size_bytes)})" if spec.size_bytes else ""
    raise ModelNotFound(f"{spec.label} is not downloaded{download}. Run: stevemin models pull {spec.name}")


def vram_words(gib: float | None) -> str:
    """The memory that a model needs, known to a tenth: `6.1 GiB`; empty when unknown."""
    return f"{gib:.1f} GiB" if gib else ""


def find_file(name: str, models_dir: Path) -> Path | None:
    """The file behind a path or a pulled "OWNER/REPO[:FILE]"; None when the name is neither.

    Raises:
        ModelNotFound: the name is one of these, and there is no such file.
    """
    hub = HUB_NAME.fullmatch(name)
    if hub:
        pulled = _pulled(hub["repo"], hub["file"], models_dir)
        if pulled is not None:
            return pulled
    if hub and not _is_file(Path(name)) and (hub["file"] or not _looks_like_path(name)):
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
    files = [*gguf_files(models_dir.joinpath(*repo.split("/")))]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ModelNotFound(f"{repo} has several downloaded files; name one as {repo}:FILE ({names}).")
    return files[0] if files else None


def _looks_like_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or name.startswith(("/", "~", ".")) or _is_file(Path(name))


def _existing_file(path: Path) -> Path:
    if not _is_file(path):
        check_gguf(path)  # says why
    return path.resolve()


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # "~someone", and there is no such user
        return Path(name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False
