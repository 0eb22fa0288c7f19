"""The backend of models that embed or rerank: a forward pass pools each text of a batch into one vector.

The same rules as in `backend`: everything is checked before a call, and `close` frees the handles in order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.config import EngineConfig
from engine.errors import GenerationFailed, ModelError
from engine.llama.batch import BatchArrays, raw_batch
from engine.llama.header import HeaderDamaged, read_header, read_tensor_names
from engine.llama.lib import init_backend, lib
from engine.llama.loading import (
    cell_bytes,
    check_memory,
    description,
    load_model,
    make_pooling_context,
    metadata,
    offloaded_layers,
)
from engine.llama.vocab import LlamaVocab
from engine.step import ModelInfo, SpecialTokens, Work
from engine.text import InputFormat

__all__ = ["LlamaEmbedder", "PooledModel", "Pooling", "pooled_model", "pooling_of"]

_DEFAULT_TOKENS = 2048  # of the longest text
_BATCH_TEXTS = 64
# Architectures that read a text at once and cannot write one.
_ENCODERS = (
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
)


class Pooling(IntEnum):
    """How the vectors of a text's tokens become one; enum llama_pooling_type."""

    MEAN = 1
    CLS = 2  # of the first token
    LAST = 3
    RANK = 4  # a classifier over the first or the last


class PooledModel(NamedTuple):
    """What the header of a model that pools says.

    Args:
        name: what it is called there; empty if nothing.
        width: of a vector; 0 if that is not said.
    """

    pooling: Pooling
    name: str
    width: int


def pooled_model(path: Path) -> PooledModel | None:
    """The model in a file; None if it writes text, or if the file cannot be read.

    An encoder that does not say how it pools takes the mean, as sentence-transformers does.
    """
    try:
        header = read_header(path)
    except (HeaderDamaged, OSError, ValueError):  # ValueError: an empty file, a name with a null character
        return None
    arch = header.get("general.architecture")
    pooling = header.get(f"{arch}.pooling_type")
    if isinstance(pooling, int) and pooling in [*Pooling]:
        pools = Pooling(pooling)
    elif arch in _ENCODERS:
        pools = Pooling.MEAN
    else:
        return None
    width = header.get(f"{arch}.embedding_length_out", header.get(f"{arch}.embedding_length"))
    return PooledModel(pools, str(header.get("general.name", "")), width if isinstance(width, int) else 0)


def pooling_of(path: Path) -> Pooling | None:
    """How the model in a file pools; None as in `pooled_model`."""
    found = pooled_model(path)
    return None if found is None else found.pooling


def _lacks_classifier(path: Path) -> bool:
    """Whether a rerank model has nothing to score with: llama.cpp would give meaningless numbers."""
    try:
        if read_header(path).get("split.count", 1) > 1:  # it may be in another part
            return False
        return read_tensor_names(path).isdisjoint({"cls.weight", "cls.output.weight"})
    except (HeaderDamaged, OSError):
        return False


class LlamaEmbedder:
    """A model that pools, and its context; see `engine.embedding.EmbeddingBackend`.

    Args:
        config: the model and its settings. Those of KV cache, speculation and sampling have no effect.
        pooling: how the vectors of a text's tokens become one.
        on_progress: called with 0..1 on this thread; returning False stops the load.

    Raises:
        ModelNotFound, ModelCorrupt, ModelTooLarge, ModelError, LoadCancelled
    """

    info: ModelInfo

    def __init__(
        self,
        config: EngineConfig,
        pooling: Pooling,
        on_progress: Callable[[float], bool] = lambda fraction: True,
    ) -> None:
        init_backend()
        self._config = config
        self._pooling = pooling
        self.batch_tokens = config.batch_tokens
        self.batch_texts = min(_BATCH_TEXTS, config.batch_tokens)  # n_batch < n_seq_max aborts the process
        with ExitStack() as opened:  # freed in reverse: context, vocabulary, model
            self._model = load_model(config, on_progress)
            opened.callback(lib.llama_model_free, self._model)
            self._offloaded = offloaded_layers()
            self._open(config, opened)
            self._opened = opened.pop_all()

    def _open(self, config: EngineConfig, opened: ExitStack) -> None:
        if lib.llama_model_has_encoder(self._model) or lib.llama_model_is_diffusion(self._model):
            raise ModelError(f"{config.model_path.name} cannot embed: models of its kind are not supported.")
        ranks = self._pooling is Pooling.RANK
        if ranks and _lacks_classifier(config.model_path):
            raise ModelError(
                f"{config.model_path.name} is a rerank model without a classifier: it cannot rerank."
            )
        self._vocab = LlamaVocab(self._model)
        opened.callback(self._vocab.close)
        # A position beyond those that an encoder was trained for aborts the process.
        trained = int(lib.llama_model_n_ctx_train(self._model))
        self._limit = min(trained, config.context_tokens or _DEFAULT_TOKENS)
        # llama.cpp plans for texts of equal length, and aborts the process if they do not fill a batch.
        self._capacity = _rounded_up(max(self._limit, self.batch_tokens), self.batch_texts)
        size = lib.llama_model_n_cls_out if ranks else lib.llama_model_n_embd_out
        self._width = int(size(self._model))
        self._check_memory()
        self._context = make_pooling_context(
            self._model, config, self._pooling, tokens=self._capacity, texts=self.batch_texts
        )
        opened.callback(lib.llama_free, self._context)
        self._memory = lib.llama_get_memory(self._context)  # null for an encoder, which keeps nothing
        self._batch = BatchArrays(self._capacity)
        self._raw = raw_batch(self._batch)
        self._outputs = np.ones(self._capacity, np.int8)  # pooling needs those of all tokens
        self._raw.logits = self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self.input_format = self._read_format()
        self.info = self._describe(trained)
        self.pool([Work(0, 0, 0, (0,), 0)])  # the first pass touches pages and buffers

    def _check_memory(self) -> None:
        config = self._config
        if config.gpu_layers != 0 and lib.llama_supports_gpu_offload():
            return
        # llama.cpp makes room for the logits and the vector of every token of a batch, needed or not.
        row_bytes = 4 * (self._vocab.size + self._width)
        weights = int(lib.llama_model_size(self._model))
        context = self._capacity * (row_bytes + cell_bytes(replace(config, kv_type="f16")))
        check_memory(config.model_path.name, weights=weights, kv_cache=context)

    def _describe(self, trained: int) -> ModelInfo:
        ranks = self._pooling is Pooling.RANK
        path = self._config.model_path
        return ModelInfo(
            name=metadata(self._model, "general.name") or path.stem,
            description=description(self._model),
            path=path,
            context_tokens=self._limit,
            kv_cells=0,
            trained_context=trained,
            vocab_size=self._vocab.size,
            size_bytes=int(lib.llama_model_size(self._model)),
            parameters=int(lib.llama_model_n_params(self._model)),
            kv_bytes_per_token=0,
            layer_count=int(lib.llama_model_n_layer(self._model)),
            offloaded_layers=self._offloaded,
            template_name="",
            kind="rerank" if ranks else "embedding",
            embedding_width=0 if ranks else self._width,
        )

    def _read_format(self) -> InputFormat:
        """What the vocabulary says of the tokens around a text, and around a query and a document."""
        vocab = self._vocab.handle
        bos, eos, sep = lib.llama_vocab_bos(vocab), lib.llama_vocab_eos(vocab), lib.llama_vocab_sep(vocab)
        adds_bos = bool(lib.llama_vocab_get_add_bos(vocab))
        around = tuple(self._vocab.tokenize("", add_special=True))
        begins = around[:1] == (bos,) and (adds_bos or len(around) > 1)
        first = (bos,) if adds_bos else ()
        last = (sep if eos < 0 else eos,) if lib.llama_vocab_get_add_eos(vocab) else ()
        middle = (*last, sep) if lib.llama_vocab_get_add_sep(vocab) else last
        template = lib.llama_model_chat_template(self._model, b"rerank")
        return InputFormat(
            limit=self._limit,
            before=around[:begins],
            after=around[begins:],
            pair_before=tuple(token for token in first if token >= 0),
            pair_between=tuple(token for token in middle if token >= 0),
            pair_after=tuple(token for token in last if token >= 0),
            pair_template=template.decode(errors="replace") if template else "",
        )

    # Text

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids."""
        return self._vocab.tokenize(text, add_special=add_special, parse_special=parse_special)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes."""
        return self._vocab.piece(token, special=special)

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens are spelled."""
        return self._vocab.special_tokens()

    # Batches

    def pool(self, work: Sequence[Work]) -> list[list[float]]:
        """A vector for each text, or its scores; slots count from 0 in the order of the work.

        Raises:
            ValueError: llama.cpp would abort the process on this batch.
            GenerationFailed: llama.cpp could not compute it.
        """
        self._check(work)
        if self._memory:  # of the batch before
            lib.llama_memory_clear(self._memory, False)
        self._raw.n_tokens, _ = self._batch.fill(work)
        code = int(lib.llama_decode(self._context, self._raw))  # encodes where there is no memory
        if code != 0:
            raise GenerationFailed(f"llama.cpp could not compute these texts (code {code}).")
        return [self._vector(item.slot) for item in work]

    def _check(self, work: Sequence[Work]) -> None:
        if len(work) > self.batch_texts or [item.slot for item in work] != [*range(len(work))]:
            raise ValueError(f"a batch has at most {self.batch_texts} texts, with slots from 0 on")
        for item in work:
            if not 0 < len(item.tokens) <= self._limit:
                raise ValueError(f"a text of {len(item.tokens)} tokens; 1 to {self._limit} are possible")
            if not 0 <= min(item.tokens) <= max(item.tokens) < self._vocab.size:
                raise GenerationFailed("The tokenizer gave a token that is not in the vocabulary.")

    def _vector(self, slot: int) -> list[float]:
        pointer = lib.llama_get_embeddings_seq(self._context, slot)  # waits for a GPU
        if not pointer:
            raise GenerationFailed("llama.cpp gave no vector for this text.")
        vector = np.ctypeslib.as_array(pointer, (self._width,))
        if not np.isfinite(vector).all():
            raise GenerationFailed("The model computed a vector that is not finite.")
        numbers: list[float] = vector.tolist()
        return numbers

    def close(self) -> None:
        """Free context and model, in this order."""
        self._opened.close()


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step
