"""One entry of the model catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = ["ModelSpec", "stays_inside"]


def stays_inside(path: str) -> bool:
    """Whether a relative path with forward slashes cannot leave the folder it is put in."""
    return not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in path.split("/"))


def _checked_file(file: str) -> str:
    if not file.endswith(".gguf") or not stays_inside(file):
        raise ValueError("a file is a relative path that ends in .gguf")
    return file


RepoId = Annotated[str, Field(pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*$")]
FileName = Annotated[str, AfterValidator(_checked_file)]


class ModelSpec(BaseModel):
    """One entry of a catalogue.

    The file comes from `path`, or from inside the installed Python package `package`, or from the Hugging
    Face Hub (`repo`, `file`): the first one that is given.

    Args:
        context_length: tokens the model was trained for.
        parameters: as people write it ("1.7B").
        size_bytes: of the file; approximate.
        vram_gib: the weights and the KV cache of 8,192 tokens, in GiB.
        gated: the Hub asks for an account that accepted the licence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    title: str = ""
    description: str = ""
    repo: RepoId | None = None
    file: FileName | None = None
    package: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None
    path: Path | None = Field(default=None, strict=False)
    context_length: int | None = Field(default=None, ge=1)
    licence: str | None = None
    parameters: str | None = None
    quantization: str | None = None
    size_bytes: int | None = Field(default=None, ge=1)
    vram_gib: float | None = Field(default=None, gt=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    gated: bool = False

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.path is None and (self.file is None or (self.repo is None and self.package is None)):
            raise ValueError("give a path, or a file together with a repo or a package")
        return self

    @property
    def label(self) -> str:
        """The title, or the name where there is none."""
        return self.title or self.name
