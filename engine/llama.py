"""The backend on llama.cpp: a loaded model with one context, on the low-level API.

llama.cpp aborts the process on bad input, so everything is checked here before a call. Handles are freed
by `close`, in order, and never by the garbage collector.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.backend import ModelInfo
from engine.batch import BatchArrays
from engine.chat_template import ChosenTemplate, choose_template
from engine.config import EngineConfig
from engine.errors import EngineClosed
from engine.fit import check_memory
from engine.llama_loading import check_kind, load_model, make_context, offloaded_layers, raw_batch
from engine.llamacpp import init_backend, lib
from engine.sampling import chain_stages, is_greedy, resolve_seed, uses_penalties
from engine.step import StepPlan, StepResult, StepStatus, Trim
from engine.types import ChatMessage, SamplingParams

__all__ = ["LlamaBackend"]

_log = logging.getLogger(__name__)
_DEFAULT_CELLS = 16_384
_STATUS = {0: StepStatus.OK, 1: StepStatus.NO_KV, -1: StepStatus.INVALID}


class LlamaBackend:
    """A model and its context; see `engine.backend.Backend`."""

    info: ModelInfo

    def __init__(
        self, config: EngineConfig, on_progress: Callable[[float], bool] = lambda fraction: True
    ) -> None:
        """Load the model and make its context.

        Args:
            config: what to load and how.
            on_progress: called with 0..1 on this thread; returning False stops the load.

        Raises:
            ModelNotFound, ModelCorrupt, ModelTooLarge, LoadCancelled
        """
        init_backend()
        self._config = config
        self._text_lock = Lock()  # tokenising happens on any thread; it must not meet `close`
        self._samplers: dict[int, Any] = {}
        self._greedy: set[int] = set()
        self._pieces: dict[bool, list[bytes | None]] = {}
        self._eog: dict[int, bool] = {}
        self._model = load_model(config, on_progress)
        self._offloaded = offloaded_layers()
        self._context: Any = None
        try:
            self._vocab = lib.llama_model_get_vocab(self._model)
            self._vocab_size = int(lib.llama_vocab_n_tokens(self._vocab))
            self._pieces = {flag: [None] * self._vocab_size for flag in (False, True)}
            self._open(config)
        except BaseException:
            self.close()
            raise

    def _open(self, config: EngineConfig) -> None:
        chosen = self._choose_template()
        self._template = chosen.template
        trained = int(lib.llama_model_n_ctx_train(self._model))
        cells = config.context_tokens or min(_DEFAULT_CELLS, 4 * trained)
        kv_bytes = self._kv_bytes_per_token()
        weights = int(lib.llama_model_size(self._model))
        if config.gpu_layers == 0 or not lib.llama_supports_gpu_offload():
            check_memory(config.model_path.name, weights=weights, kv_cache=cells * kv_bytes)
        self._context = make_context(self._model, config, cells)
        self._memory = lib.llama_get_memory(self._context)
        check_kind(self._model, self._memory, config.model_path.name)
        cells = int(lib.llama_n_ctx(self._context))
        recurrent = lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model)
        self.info = ModelInfo(
            name=self._meta("general.name") or config.model_path.stem,
            description=self._text(lib.llama_model_desc),
            path=config.model_path,
            context_tokens=min(trained, cells),
            kv_cells=cells,
            trained_context=trained,
            vocab_size=self._vocab_size,
            size_bytes=weights,
            parameters=int(lib.llama_model_n_params(self._model)),
            kv_bytes_per_token=kv_bytes,
            layer_count=int(lib.llama_model_n_layer(self._model)),
            offloaded_layers=self._offloaded,
            template_name=chosen.name,
            stop=chosen.stop,
            partial_removal=not recurrent,
            warnings=(chosen.warning,) if chosen.warning else (),
        )
        self._batch = BatchArrays(config.batch_tokens)
        self._raw = raw_batch(self._batch)
        self._warm_up()

    # Text

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids."""
        data = text.encode("utf-8", "replace")
        if add_special and self._bos and data.startswith(self._bos):
            add_special = False  # the template printed the begin token itself
        with self._open_model():
            buffer, count = self._read_tokens(data, len(data) + 8, add_special, parse_special)
            if count < 0:
                buffer, count = self._read_tokens(data, -count, add_special, parse_special)
        return list(buffer[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes, remembered after the first call."""
        known = self._pieces[special]
        piece = known[token]
        if piece is None:
            piece = known[token] = self._read_piece(token, special)
        return piece

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the model's turn."""
        known = self._eog.get(token)  # a call would hand the GIL over, once per token
        if known is None:
            known = self._eog[token] = bool(lib.llama_vocab_is_eog(self._vocab, token))
        return known

    def render(self, messages: SequenceOf[ChatMessage]) -> str:
        """Messages to prompt text; lone surrogates, which no tokeniser knows, are replaced."""
        return self._template.render(messages).encode("utf-8", "replace").decode()

    def _read_piece(self, token: int, special: bool) -> bytes:
        if not 0 <= token < self._vocab_size:
            raise ValueError(f"token {token} is not in a vocabulary of {self._vocab_size}")
        buffer = ctypes.create_string_buffer(128)
        with self._open_model():
            length = lib.llama_token_to_piece(self._vocab, token, buffer, 128, 0, special)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = lib.llama_token_to_piece(self._vocab, token, buffer, -length, 0, special)
        return buffer.raw[:length]

    def _read_tokens(self, data: bytes, size: int, add_special: bool, parse_special: bool) -> tuple[Any, int]:
        buffer = (lib.llama_token * size)()
        count = lib.llama_tokenize(self._vocab, data, len(data), buffer, size, add_special, parse_special)
        return buffer, count

    @contextmanager
    def _open_model(self) -> Iterator[None]:
        with self._text_lock:
            if self._model is None:
                raise EngineClosed("The model was unloaded.")
            yield

    # Sampling

    def open_sampler(self, request_id: int, params: SamplingParams, prompt: SequenceOf[int]) -> None:
        """Make the sampler of a request; `params.seed` must be set."""
        if is_greedy(params):
            self._greedy.add(request_id)
            return
        seed = resolve_seed(params)
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for stage in chain_stages(params, seed=seed, vocab_size=self._vocab_size):
            make = getattr(lib, f"llama_sampler_init_{stage.name}")
            lib.llama_sampler_chain_add(chain, make(*stage.args))
        if uses_penalties(params):
            for token in prompt[-params.penalty_last_n :]:
                lib.llama_sampler_accept(chain, token)
        self._samplers[request_id] = chain

    def close_sampler(self, request_id: int) -> None:
        """Free the sampler of a request."""
        self._greedy.discard(request_id)
        if (chain := self._samplers.pop(request_id, None)) is not None:
            lib.llama_sampler_free(chain)

    def _sample(self, request_id: int, row: int) -> int:
        if request_id in self._greedy:
            return int(self.logits(row).argmax())
        return int(lib.llama_sampler_sample(self._samplers[request_id], self._context, row))

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """A view of a row's logits, shape (vocabulary,); it dies at the next step."""
        pointer = lib.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, (self._vocab_size,))

    # Steps

    def execute(self, plan: StepPlan) -> StepResult:
        """Trim, run one forward, sample every row that asks for it."""
        for trim in plan.trims:
            self._trim(trim)
        if not plan.work:
            return StepResult()
        start = time.perf_counter()
        self._raw.n_tokens, rows = self._batch.fill(plan.work)
        code = int(lib.llama_decode(self._context, self._raw))
        if code != 0:
            _log.warning("llama_decode returned %d for %d tokens", code, self._raw.n_tokens)
            return StepResult(_STATUS.get(code, StepStatus.PARTIAL), {}, time.perf_counter() - start)
        if rows:
            lib.llama_synchronize(self._context)
        decoded = time.perf_counter()
        sampled = {request_id: self._sample(request_id, row) for request_id, row in rows}
        return StepResult(StepStatus.OK, sampled, decoded - start, time.perf_counter() - decoded)

    def resident(self, slot: int) -> int:
        """Tokens of a slot in the KV cache."""
        return int(lib.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def state_bytes(self) -> int:
        """Size of the context's state, which counts the occupied KV cells: the leak oracle."""
        return int(lib.llama_state_get_size(self._context))

    def _trim(self, trim: Trim) -> None:
        if not 0 <= trim.slot < self._config.sequences:
            raise ValueError(f"slot {trim.slot} is not one of {self._config.sequences}")
        if not lib.llama_memory_seq_rm(self._memory, trim.slot, trim.keep, -1):
            raise ValueError(f"this model's memory cannot be cut at {trim.keep}")

    def close(self) -> None:
        """Free samplers, context and model, in this order."""
        for request_id in [*self._samplers]:
            self.close_sampler(request_id)
        if self._context is not None:
            lib.llama_free(self._context)
            self._context = None
        with self._text_lock:
            model, self._model = self._model, None
        if model is not None:
            lib.llama_model_free(model)

    # Loading

    def _choose_template(self) -> ChosenTemplate:
        bos, eos = (
            "" if token < 0 else self.piece(token, special=True).decode(errors="replace")
            for token in (lib.llama_vocab_bos(self._vocab), lib.llama_vocab_eos(self._vocab))
        )
        self._bos = bos.encode() if lib.llama_vocab_get_add_bos(self._vocab) else b""
        source = lib.llama_model_chat_template(self._model, None)
        return choose_template(
            configured=self._config.chat_template,
            from_gguf=source.decode(errors="replace") if source else None,
            knows_chatml=len(self.tokenize("<|im_start|>", parse_special=True)) == 1,
            bos=bos,
            eos=eos,
        )

    def _kv_bytes_per_token(self) -> int:
        layers = int(lib.llama_model_n_layer(self._model))
        heads = max(1, int(lib.llama_model_n_head(self._model)))
        head_size = int(lib.llama_model_n_embd(self._model)) // heads
        arch = self._meta("general.architecture")
        sizes = [int(self._meta(f"{arch}.attention.{part}_length") or head_size) for part in ("key", "value")]
        return layers * int(lib.llama_model_n_head_kv(self._model)) * sum(sizes) * 2  # f16

    def _meta(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(512)
        length = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, 512)
        return buffer.value.decode(errors="replace") if length > 0 else ""

    def _text(self, read: Any) -> str:
        buffer = ctypes.create_string_buffer(256)
        read(self._model, buffer, 256)
        return buffer.value.decode(errors="replace")

    def _warm_up(self) -> None:
        """One forward, so that the first request does not pay for pages and buffers never touched."""
        self._batch.token[0], self._batch.pos[0], self._batch.seq_id[0] = 0, 0, 0
        self._batch.logits[0] = 1
        self._raw.n_tokens = 1
        lib.llama_decode(self._context, self._raw)
        lib.llama_memory_clear(self._memory, True)
