"""What was set up in a virtual environment, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bootstrap import machine
from bootstrap.gpu import GpuChoice

__all__ = ["State", "fingerprint"]

_FILE = "stevemin-setup.json"
_INPUTS = ("pyproject.toml", "constraints.txt")


@dataclass(frozen=True)
class State:
    """One finished or half-finished set-up.

    Args:
        inputs: fingerprint of the files and the interpreter it was made from; empty while unfinished.
        wheel: key of the compiled wheel that is installed; empty if none is.
        extras: the optional dependencies that are installed.
    """

    inputs: str = ""
    python: str = ""
    wheel: str = ""
    extras: tuple[str, ...] = ()
    gpu: GpuChoice | None = field(default=None)

    @classmethod
    def read(cls, venv: Path) -> State:
        """The state of an environment; an empty one where there is none or it cannot be understood."""
        try:
            stored = json.loads((venv / _FILE).read_text(encoding="utf-8"))
            choice = GpuChoice(**stored["gpu"]) if stored["gpu"] else None
            return cls(**{**stored, "extras": tuple(stored["extras"]), "gpu": choice})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def write(self, venv: Path) -> None:
        """Replace the state, at once or not at all."""
        partial = venv / f"{_FILE}.{os.getpid()}"
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        partial.replace(venv / _FILE)

    def covers(self, inputs: str, backend: str, extras: tuple[str, ...]) -> bool:
        """Whether everything that is wanted is there already."""
        same_gpu = self.gpu is not None and self.gpu.backend == backend
        return bool(self.inputs) and self.inputs == inputs and same_gpu and set(extras) <= set(self.extras)


def fingerprint(root: Path, python: str) -> str:
    """A digest of the files, the interpreter and the place that an environment is made from."""
    digest = hashlib.sha256(f"{root}\n{python}\n".encode())
    for name in _INPUTS:
        digest.update((root / name).read_bytes())
    digest.update(os.environ.get("CMAKE_ARGS", "").strip().encode())
    # A folder that moved to another machine, or flags that changed, need another llama.cpp.
    digest.update(machine.cpu_signature().encode())
    digest.update(repr(machine.compiler_flags()).encode())
    return digest.hexdigest()
