"""What models this machine has and could have: the catalogue and the pulled files as one list."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.models import Catalogue, ModelSpec, model_file
from stevemin_chat.hub import Pulled, pulled_models, split_name
from stevemin_chat.model_store import in_catalogue
from stevemin_chat.units import human_bytes

__all__ = ["Entry", "entries", "find_entry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model, as lists show it.

    Args:
        id: what commands take for it.
        installed: whether its file is on this machine; path is where it is or would be.
        vram_gib: the weights and the KV cache of 8,192 tokens.
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
        """What `stevemin models info` shows, unknown things as empty text."""
        return [
            ("title", self.title),
            ("about", self.description),
            ("parameters", self.parameters or ""),
            ("quantization", self.quantization or ""),
            ("context", f"{self.context_length:,} tokens" if self.context_length else ""),
            ("size", human_bytes(self.size_bytes) if self.size_bytes else ""),
            ("VRAM or RAM", f"{self.vram_gib:g} GiB with a context of 8,192 tokens" if self.vram_gib else ""),
            ("licence", (self.licence or "") + (" (gated on the hub)" if self.gated else "")),
            ("hub", f"{self.repo}:{self.file}" if self.repo else ""),
            ("package", self.package or ""),
            ("file", str(self.path) if self.installed else f"not here; run: stevemin models pull {self.id}"),
        ]

    def row(self) -> tuple[str, ...]:
        """The columns of `stevemin models list`."""
        return (
            self.id,
            human_bytes(self.size_bytes) if self.size_bytes else "-",
            f"{self.vram_gib:g} GiB" if self.vram_gib else "-",
            f"{self.context_length:,}" if self.context_length else "-",
            self.licence or "-",
            "yes" if self.installed else "gated" if self.gated else "",
        )


def entries(catalogue: Catalogue, models_dir: Path) -> list[Entry]:
    """The catalogue in its order, then what else was pulled."""
    listed = [_from_spec(spec, models_dir) for spec in catalogue]
    known = {entry.path for entry in listed}
    return listed + [_from_pulled(pulled) for pulled in pulled_models(models_dir) if pulled.path not in known]


def find_entry(name: str, catalogue: Catalogue, models_dir: Path) -> Entry:
    """One model of the catalogue, pulled, or a file by its path.

    Raises:
        engine.ModelNotFound: there is none; suggests the nearest.
    """
    if in_catalogue(name, catalogue):
        return _from_spec(catalogue.get(name), models_dir)
    path = catalogue.resolve(name, models_dir)
    for pulled in pulled_models(models_dir):
        if pulled.path == path:
            return _from_pulled(pulled)
    return Entry(id=name, title=path.name, installed=True, path=path, size_bytes=path.stat().st_size)


def _from_spec(spec: ModelSpec, models_dir: Path) -> Entry:
    path = model_file(spec, models_dir)
    here = path is not None and path.is_file()
    return Entry(
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


def _from_pulled(pulled: Pulled) -> Entry:
    repo, file = split_name(pulled.name)
    return Entry(
        id=pulled.name,
        title=pulled.path.stem,
        installed=True,
        path=pulled.path,
        size_bytes=pulled.size_bytes,
        repo=repo,
        file=file,
    )
