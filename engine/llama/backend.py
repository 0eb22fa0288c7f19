"""The backend: a loaded model with one context, on llama.cpp's low-level API.

llama.cpp aborts the process on bad input, so this room checks everything before a call. `close` frees the
handles in order; the garbage collector never does.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config import EngineConfig
from engine.grammar import GrammarCompiler
from engine.llama.batch import BatchArrays, raw_batch
from engine.llama.device_sampler import DeviceSampler
from engine.llama.lib import init_backend, lib, logits_address, logits_address_at_once
from engine.llama.loading import (
    allocated_cell_bytes,
    cell_bytes,
    check_kind,
    check_memory,
    description,
    load_model,
    lock_warning,
    make_context,
    metadata,
    offloaded_layers,
)
from engine.llama.memory import LlamaMemory
from engine.llama.sampler import RowSampler
from engine.llama.vocab import LlamaVocab
from engine.step import Constraint, ModelInfo, SpecialTokens, StepPlan, StepResult, StepStatus, Work
from engine.text import ChosenTemplate, TemplateProcess, choose_template, literals_of, reply_format
from engine.types import ChatMessage, SamplingParams, TokenLogprob

__all__ = ["LlamaBackend"]

_log = logging.getLogger(__name__)
_DEFAULT_CELLS = 16_384
_TIMED_STEPS = 10
_REFUSED = -1  # by llama_decode, before anything happened
_STATUS = {0: StepStatus.OK, 1: StepStatus.NO_KV, _REFUSED: StepStatus.INVALID}


class LlamaBackend:
    """A model and its context; see `engine.step.Backend`."""

    info: ModelInfo

    def __init__(
        self, config: EngineConfig, on_progress: Callable[[float], bool] = lambda fraction: True
    ) -> None:
        """Load the model and create its context.

        Args:
            config: the model and its settings.
            on_progress: called with 0..1 on this thread; returning False stops the load.

        Raises:
            ModelNotFound, ModelCorrupt, ModelTooLarge, ConfigError, LoadCancelled
        """
        init_backend()
        self._config = config
        self._wants_logprobs: set[int] = set()
        self._logits_at: int | None = None
        self._logits: npt.NDArray[np.float32]
        with ExitStack() as opened:  # freed in reverse: samplers, context, vocabulary, model, process
            self._templates = TemplateProcess()
            opened.callback(self._templates.close)
            self._templates.warm_up()  # while the weights are read
            self._model = load_model(config, on_progress)
            opened.callback(lib.llama_model_free, self._model)
            self._offloaded = offloaded_layers()
            waits = lib.llama_supports_gpu_offload()
            self._logits_address = logits_address if waits else logits_address_at_once
            self._lock_warning = lock_warning() if "mlock" in config.load_mode else None
            self._open(config, opened)
            self._opened = opened.pop_all()

    def _open(self, config: EngineConfig, opened: ExitStack) -> None:
        self._vocab = LlamaVocab(self._model)
        opened.callback(self._vocab.close)
        chosen = self._choose_template()
        self._template = chosen.template
        trained = int(lib.llama_model_n_ctx_train(self._model))
        token_bytes = cell_bytes(config)
        cells = config.context_tokens or min(_DEFAULT_CELLS, 4 * trained)
        if config.gpu_layers == 0 or not lib.llama_supports_gpu_offload():
            weights = int(lib.llama_model_size(self._model))
            check_memory(config.model_path.name, weights=weights, kv_cache=cells * token_bytes)
        self._context = make_context(self._model, config, cells)
        opened.callback(lib.llama_free, self._context)
        check_kind(self._model, lib.llama_get_memory(self._context), config.model_path.name)
        self._memory = LlamaMemory(self._context, slots=config.sequences, split=config.split_cache)
        self._sampler = RowSampler(
            vocab_size=self._vocab.size,
            threads=config.sampling_thread_count,
            is_eog=self._vocab.is_eog,
            eog_tokens=self._vocab.eog_tokens,
            context=self._context,
            vocab=self._vocab.handle,
        )
        opened.callback(self._sampler.close_all)
        self._batch = BatchArrays(config.batch_tokens)
        self._raw = raw_batch(self._batch)
        self._cuts = self._warm_up()
        self._use_device_sampler(config.device_sampling)
        self.info = self._describe(chosen, trained, allocated_cell_bytes(token_bytes))

    def _describe(self, chosen: ChosenTemplate, trained: int, token_bytes: int) -> ModelInfo:
        each = int(lib.llama_n_ctx_seq(self._context))
        path = self._config.model_path
        return ModelInfo(
            name=metadata(self._model, "general.name") or path.stem,
            description=description(self._model),
            path=path,
            context_tokens=min(trained, each),
            kv_cells=each * self._config.sequences if self._config.split_cache else each,
            trained_context=trained,
            vocab_size=self._vocab.size,
            size_bytes=int(lib.llama_model_size(self._model)),
            parameters=int(lib.llama_model_n_params(self._model)),
            kv_bytes_per_token=token_bytes,
            layer_count=int(lib.llama_model_n_layer(self._model)),
            offloaded_layers=self._offloaded,
            template_name=chosen.name,
            stop=chosen.stop,
            reply=reply_format(
                chosen.template.source,
                reasoning=self._config.reasoning_marks,
                calls=self._config.tool_format,
            ),
            partial_removal=self._cuts,
            split_cache=self._config.split_cache,
            warnings=tuple(filter(None, (chosen.warning, self._lock_warning))),
        )

    # Text

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids."""
        return self._vocab.tokenize(text, add_special=add_special, parse_special=parse_special)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes."""
        return self._vocab.piece(token, special=special)

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the model's turn."""
        return self._vocab.is_eog(token)

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens are spelled."""
        literals, replaced = literals_of(self._template.source)
        return replace(self._vocab.special_tokens(), literals=literals, replaced=replaced)

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Messages to prompt text."""
        return self._template.render(messages, tools=tools, arguments=arguments)

    # Sampling

    def constrain(self, params: SamplingParams) -> Constraint | None:
        """Compile a request's grammar or JSON schema; the first call reads the whole vocabulary."""
        return self._grammars.compile(params) if params.is_constrained else None

    @cached_property
    def _grammars(self) -> GrammarCompiler:
        return GrammarCompiler(
            vocab_size=self._vocab.size,
            pieces=self._vocab.piece,
            tokenize=self._vocab.tokenize,
            eog_tokens=self._vocab.eog_tokens(),
        )

    def prepare_sampler(self, params: SamplingParams) -> None:
        """Build what the samplers of these parameters share; slow for DRY."""
        with self._vocab.alive():
            self._sampler.prepare(params)

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: Constraint | None = None,
    ) -> None:
        """Make the sampler of a request; `params.seed` must be set."""
        if params.logprobs is not None:
            self._wants_logprobs.add(request_id)
        self._sampler.open(request_id, params, prompt, constraint)

    def change_sampler(self, request_id: int, params: SamplingParams, tokens: Sequence[int]) -> None:
        """Use other parameters for a request."""
        self._sampler.change(request_id, params, tokens)

    def use_threads(self, threads: int, sampling_threads: int) -> None:
        """Compute with these numbers of threads from now on."""
        lib.llama_set_n_threads(self._context, threads, threads)
        self._sampler.use_threads(sampling_threads)

    def close_sampler(self, request_id: int) -> None:
        """Free the sampler of a request."""
        self._wants_logprobs.discard(request_id)
        self._sampler.close(request_id)

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """A view of the last forward pass's logits, shape (rows, vocabulary); invalid after the next step."""
        address = self._logits_address(self._context)
        if address is None:
            raise RuntimeError("llama.cpp has no logits")
        if address != self._logits_at:
            size = self._config.sequences + self._config.draft_rows
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            self._logits = np.ctypeslib.as_array(pointer, (size, self._vocab.size))
            self._logits_at = address
        return self._logits[:rows]

    # Steps

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        """Make the moves, start one forward pass, do something else meanwhile, sample the rows."""
        moved = self._memory.make(plan.moves)
        if moved.failed:
            return StepResult(StepStatus.LOST, saved=moved.saved, swap_s=moved.swap_s)
        if not plan.work:
            return StepResult(saved=moved.saved, swap_s=moved.swap_s)
        start = time.perf_counter()
        self._raw.n_tokens, sampling = self._batch.fill(plan.work)
        self._sampler.place(sampling)
        code = int(lib.llama_decode(self._context, self._raw))
        if code != _REFUSED:
            self._memory.record_forward()
        if code != 0:
            _log.warning("llama_decode returned %d for %d tokens", code, self._raw.n_tokens)
            spent = time.perf_counter() - start
            return StepResult(_STATUS.get(code, StepStatus.PARTIAL), {}, moved.saved, spent)
        if meanwhile is not None:
            meanwhile()
        logits = self.logits(sum(item.rows for item in sampling)) if sampling else None
        if logits is None:  # reading logits waits for a GPU; else llama_decode has only started its work
            lib.llama_synchronize(self._context)
        decoded = time.perf_counter()
        sampled: dict[int, tuple[int, ...]] = {}
        logprobs: dict[int, tuple[TokenLogprob, ...]] = {}
        if logits is not None:
            likelihood = self._sampler.logprobs(logits, sampling) if self._wants_logprobs else None
            sampled = self._sampler.sample(logits, sampling)
            self._drop_rejected(sampling, sampled)
            logprobs = likelihood(sampled) if likelihood is not None else {}
        spent = time.perf_counter() - decoded
        return StepResult(StepStatus.OK, sampled, moved.saved, decoded - start, spent, moved.swap_s, logprobs)

    def _drop_rejected(self, work: Sequence[Work], sampled: dict[int, tuple[int, ...]]) -> None:
        """Remove the cells of rejected drafts from the KV cache."""
        for item in work:
            if rejected := len(item.drafts) + 1 - len(sampled[item.request_id]):
                self._memory.trim(item.slot, item.start + len(item.tokens) - rejected)

    def resident(self, slot: int) -> int:
        """Tokens of a slot in the KV cache."""
        return self._memory.resident(slot)

    def state_bytes(self) -> int:
        """Size of the context's state, which grows with the occupied KV cells: the test for leaks."""
        return int(lib.llama_state_get_size(self._context))

    def close(self) -> None:
        """Free samplers, context and model, in this order."""
        self._opened.close()

    # Loading

    def _choose_template(self) -> ChosenTemplate:
        source = lib.llama_model_chat_template(self._model, None)
        return choose_template(
            self._templates,
            configured=self._config.chat_template,
            from_gguf=source.decode(errors="replace") if source else None,
            knows_chatml=len(self.tokenize("<|im_start|>", parse_special=True)) == 1,
            bos=self._vocab.bos,
            eos=self._vocab.eos,
        )

    def _warm_up(self) -> bool:
        """Run one forward pass, so that the first request does not pay for touching pages and buffers.

        Returns:
            Whether the memory of this model can be cut in the middle of a sequence.
        """
        self._raw.n_tokens, _ = self._batch.fill([Work(0, 0, 0, (0, 0), 1)])
        lib.llama_decode(self._context, self._raw)
        memory = lib.llama_get_memory(self._context)
        cuts = bool(lib.llama_memory_seq_rm(memory, 0, 1, -1))
        lib.llama_memory_clear(memory, True)
        return cuts

    def _use_device_sampler(self, wanted: str) -> None:
        """Sample in the forward pass if that is wanted, or if it is faster."""
        if wanted == "off" or (wanted == "auto" and not self._offloaded):
            return
        on_cpu = self._time_steps() if wanted == "auto" else math.inf
        self._sampler.use_device(DeviceSampler(self._context, vocab_size=self._vocab.size))
        if wanted == "auto" and self._time_steps() >= on_cpu:
            self._sampler.use_device(None)

    def _time_steps(self) -> float:
        """Seconds of a step in which every seat gets a token."""
        seats = range(min(self._config.max_sessions, int(lib.llama_n_ctx_seq(self._context)) // _TIMED_STEPS))
        for seat in seats:
            self.open_sampler(seat, SamplingParams(seed=seat), ())
        took = []
        for place in range(_TIMED_STEPS):
            start = time.perf_counter()
            self.execute(StepPlan(tuple(Work(seat, seat, place, (0,), 1) for seat in seats)))
            took.append(time.perf_counter() - start)
        for seat in seats:
            self.close_sampler(seat)
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        return median(took[_TIMED_STEPS // 2 :])  # the first plan the graph
