"""The program of the process that embeds or reranks with a GGUF model, by llama.cpp.

`memory.vectors.serve` says how it is talked to. llama.cpp aborts its process on some damaged files: so it is
not the chat's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from memory.vectors import Embed

__all__ = ["main"]

_MOST_TOKENS = 512  # of a text; passages have about 230, and a model may accept thousands
_NOTHING = "."  # stands for a text of which the tokenizer leaves nothing


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve until the other side is gone.

    Args:
        arguments: the socket's file descriptor, the model's file, the number of threads, the mode.
    """
    from memory.vectors import RERANK, serve

    descriptor, path, threads, mode = arguments
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the GPU's memory belongs to the chat's engine
    serve(descriptor, partial(_load, Path(path), int(threads), reranks=mode == RERANK))


def _load(path: Path, threads: int, *, reranks: bool) -> Embed:
    """What embeds or reranks with the model in a file. Raises engine.ModelError."""
    import numpy as np
    from numpy.typing import NDArray

    from engine import EngineConfig, InvalidRequest, ModelError
    from engine.embedding import EmbeddingCall, EmbeddingCore
    from engine.llama import LlamaEmbedder, pooled_model
    from engine.text import InputEncoder

    config = EngineConfig(
        model_path=path,
        gpu_layers=0,
        threads=threads,
        context_tokens=_MOST_TOKENS,
        batch_tokens=_MOST_TOKENS,
        max_sessions=1,
        cached_sessions=0,
    )
    if (model := pooled_model(path)) is None:
        raise ModelError(f"{path} is no embedding model.")
    backend = LlamaEmbedder(config, model.pooling)
    encoder, core = InputEncoder(backend, backend.input_format), EmbeddingCore(config, backend)

    def tokens_of(text: str, prefix: str) -> list[int]:
        if reranks:
            return encoder.pairs(prefix, [text], truncate=True)[0]
        return encoder.texts([prefix + text], truncate=True)[0]

    def rows(texts: list[str], prefix: str) -> NDArray[np.float32]:
        tokens = []
        for text in texts:
            try:
                tokens.append(tokens_of(text, prefix))
            except InvalidRequest:  # the tokenizer leaves nothing of it, or the question leaves no room
                tokens.append(tokens_of(_NOTHING, _NOTHING))
        core.post(call := EmbeddingCall(tokens))
        while not call.result.done():
            core.step()
        found = np.array(call.result.result(), np.float32)
        unit: NDArray[np.float32] = found / (1 if reranks else np.linalg.norm(found, axis=1, keepdims=True))
        return unit

    return rows


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # a program of its own knows no packages beside it
    main(sys.argv[1:])
