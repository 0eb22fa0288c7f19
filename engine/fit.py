"""Whether a model file can be loaded here at all, before llama.cpp is asked."""

from __future__ import annotations

from pathlib import Path

import psutil

from engine.errors import ModelCorrupt, ModelNotFound, ModelTooLarge

__all__ = ["check_file", "check_memory"]


def check_file(path: Path) -> None:
    """Look at a model file from outside.

    Raises:
        ModelNotFound: it is not there or cannot be read.
        ModelCorrupt: it is not a GGUF file.
    """
    if not path.exists():
        raise ModelNotFound(f"There is no file {path}.")
    if path.is_dir():
        raise ModelNotFound(f"{path} is a folder, not a .gguf file.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}.") from error
    if magic != b"GGUF":
        raise ModelCorrupt(f"{path} is not a GGUF file (it does not begin with the letters GGUF).")


def check_memory(name: str, *, weights: int, kv_cache: int) -> None:
    """Refuse what this machine's RAM cannot hold.

    Weights are mapped from the file, so they only have to fit the machine; the KV cache is allocated, so it
    has to fit what is free.

    Args:
        name: of the model, for the message.
        weights, kv_cache: bytes.

    Raises:
        ModelTooLarge: with the numbers.
    """
    memory = psutil.virtual_memory()
    if kv_cache <= memory.available and weights + kv_cache <= memory.total:
        return
    raise ModelTooLarge(
        f"{name} needs {weights / 2**30:.1f} GiB for its weights and {kv_cache / 2**30:.1f} GiB for the"
        f" context; of {memory.total / 2**30:.1f} GiB RAM, {memory.available / 2**30:.1f} are free."
        " Choose a smaller model or lower context_tokens."
    )
