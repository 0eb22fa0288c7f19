"""The starter model's own logits in a real context, for tests of what comes after a forward pass."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from engine_tests.real import THREADS

from engine.llama.lib import init_backend, lib
from engine.llama.topk import Rows

__all__ = ["StarterLogits"]


class StarterLogits:
    """A context over the starter model; every token of a decode gets a row."""

    def __init__(self, path: Path, *, rows: int = 48) -> None:
        init_backend()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model: Any = lib.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, path
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = 1024, rows, rows
        settings.n_threads = settings.n_threads_batch = THREADS
        self.context: Any = lib.llama_init_from_model(self.model, settings)
        self.vocab: Any = lib.llama_model_get_vocab(self.model)
        self.vocab_size = int(lib.llama_vocab_n_tokens(self.vocab))
        self.batch = lib.llama_batch_init(rows, 0, 1)
        self.position = 0

    def decode(self, tokens: list[int]) -> Rows:
        """Run one forward pass; its rows are writable and invalid after the next one."""
        for index, token in enumerate(tokens):
            self.batch.token[index], self.batch.pos[index] = token, self.position + index
            self.batch.n_seq_id[index], self.batch.seq_id[index][0], self.batch.logits[index] = 1, 0, 1
        self.batch.n_tokens = len(tokens)
        assert lib.llama_decode(self.context, self.batch) == 0
        self.position += len(tokens)
        rows: Rows = np.ctypeslib.as_array(lib.llama_get_logits(self.context), (len(tokens), self.vocab_size))
        return rows

    def restart(self) -> None:
        """Forget all tokens."""
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        self.position = 0

    def piece(self, token: int) -> bytes:
        """A token's bytes; empty for control tokens."""
        buffer = ctypes.create_string_buffer(256)
        length = lib.llama_token_to_piece(self.vocab, token, buffer, 256, 0, False)
        return buffer.raw[:length]

    def tokenize(self, text: str | bytes, *, special: bool = False) -> list[int]:
        """Text to token ids."""
        data = text if isinstance(text, bytes) else text.encode()
        buffer = (lib.llama_token * (len(data) + 8))()
        count = lib.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), False, special)
        return list(buffer[:count])

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the turn."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        """Free batch, context and model."""
        lib.llama_batch_free(self.batch)
        lib.llama_free(self.context)
        lib.llama_model_free(self.model)
