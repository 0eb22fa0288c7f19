"""The model catalogue: `models.toml` files to validated `ModelSpec`s, and names to GGUF files.

A catalogue is the one that ships, overlaid by the user's own: an entry of the same name replaces field by
field, so that a user may write only what differs.
"""

from __future__ import annotations

import difflib
import os.path
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import ConfigError, ModelNotFound
from engine.model_files import find_file, hub_file, installed_file, is_installed, model_file
from engine.model_spec import ModelSpec

__all__ = ["Catalogue", "ModelSpec", "hub_file", "is_installed", "model_file"]


class Catalogue:
    """Models by name, in the order of the files."""

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = dict(specs)

    @classmethod
    def load(cls, builtin: Path, user: Path | None = None) -> Catalogue:
        """Read the catalogue that ships and, if there is one, the user's.

        Raises:
            ConfigError: a file cannot be read or is not valid; names the file and the key.
        """
        entries: dict[str, dict[str, Any]] = {}
        specs: dict[str, ModelSpec] = {}
        for source in (builtin, user):
            if source is None:
                continue
            for name, fields in _read(source, optional=source is user).items():
                entries[name] = {**entries.get(name, {}), **_absolute(fields, source.parent)}
                specs[name] = _spec(name, entries[name], source)
        return cls(specs)

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def get(self, name: str) -> ModelSpec:
        """The entry of that name.

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
        if name in self or name.lower() in self:
            return installed_file(self.get(name), models_dir)
        found = find_file(name, models_dir)
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str) -> ModelNotFound:
        near = difflib.get_close_matches(name.lower(), self._specs, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        return ModelNotFound(f"There is no model named {name!r}.{hint} All names: stevemin models list")


def _read(source: Path, *, optional: bool) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        raise ConfigError(f"There is no model catalogue at {source}.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read {source}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}.") from error
    if unknown := sorted(set(document) - {"models"}):
        raise ConfigError(f"{source}: unknown key {unknown[0]}; models are tables named [models.NAME].")
    models = document.get("models", {})
    for name, fields in models.items() if isinstance(models, dict) else [("", models)]:
        if not isinstance(fields, dict):
            raise ConfigError(f"{source}: models{'.' * bool(name)}{name} must be a table.")
    return dict(models)


def _absolute(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(path := fields.get("path"), str):
        return {**fields, "path": os.path.join(folder, os.path.expanduser(path))}
    return fields


def _spec(name: str, fields: dict[str, Any], source: Path) -> ModelSpec:
    if "name" in fields:
        raise ConfigError(f"{source}: models.{name}.name: the table's own name is the model's name.")
    try:
        return ModelSpec.model_validate({**fields, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("models", name, *(str(part) for part in first["loc"])))
        what = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{source}: {key}: {what[:1].lower()}{what[1:]}.") from error
