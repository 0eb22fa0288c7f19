"""One step of the engine: drain commands, schedule, execute, update, emit.

No loop and no thread: `worker` adds those, tests call `step` directly.

What other threads ask of the engine thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import SimpleQueue
from time import perf_counter
from typing import TypeAlias

from engine.config import EngineConfig
from engine.errors import EngineClosed, GenerationFailed, InvalidRequest, RequestError
from engine.grammar.compiler import Constraint
from engine.kv.parking import Parking
from engine.kv.prefix import PrefixCache
from engine.metrics import Metrics, live_stats, with_totals
from engine.sampling import resolve_seed
from engine.schedule.costs import StepCosts
from engine.schedule.scheduler import Scheduler, SchedulerLimits
from engine.schedule.sequence import Sequence
from engine.schedule.speculation import Speculator
from engine.step import Backend, ModelInfo, Restore, Save, StepPlan, StepResult, StepStatus
from engine.stream import Mailroom, TokenStream
from engine.text.output import RequestOutput
from engine.text.prompt import PromptEncoder
from engine.types import EngineStats, FinishReason, Priority, SamplingParams

__all__ = [
    "Cancel",
    "Command",
    "EngineCore",
    "Focus",
    "Forget",
    "Resume",
    "Submit",
]


_MAX_FAILED_STEPS = 3
_SNAPSHOT_S = 0.1
_TARGET_S = {False: 0.1, True: 0.05}  # a step's, on a CPU and on a GPU


class EngineCore:
    """Owns scheduler, outputs and the backend; one thread calls everything but `post` and `stats`."""

    def __init__(
        self, config: EngineConfig, backend: Backend, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.parking = Parking(
            ram_bytes=config.parked_ram_mib << 20,
            disk_bytes=config.parked_disk_mib << 20,
            folder=config.parked_folder,
            wake=lambda: self.post(None),
        )
        self.encoder = PromptEncoder(backend)
        self.scheduler = _make_scheduler(config, backend.info, self.parking)
        self.metrics = Metrics()
        self._backend = backend
        self._clock = clock
        self._inbox: SimpleQueue[Command | None] = SimpleQueue()
        self._ids = itertools.count(1)
        self._outputs: dict[int, RequestOutput] = {}
        self.mail = Mailroom()
        self._failed_steps = 0
        self._live = EngineStats()
        self._live_at = 0.0

    # Any thread

    def post(self, command: Command | None) -> None:
        """Hand a command to the engine thread; None only wakes it."""
        self._inbox.put(command)

    def stats(self) -> EngineStats:
        """A frozen snapshot; the live fields are at most a tenth of a second old."""
        return with_totals(self._live, self.metrics.snapshot())

    # Engine thread

    def wait(self) -> None:
        """Block until a command comes."""
        self._publish(StepPlan())
        self._handle(self._inbox.get())

    def step(self) -> bool:
        """Do one step; False when there was nothing to do."""
        start = self._clock()
        self._drain()
        plan = self.scheduler.schedule()
        if plan.work:
            self._note_admissions(start)
            result = self._backend.execute(plan)
            self._park(plan, result)
            self._settle(plan, result)
            self._measure(plan, result, start)
        elif plan.moves:
            self._park(plan, self._backend.execute(plan))
        self.mail.flush()
        if self._clock() - self._live_at > _SNAPSHOT_S:
            self._publish(plan)
        return bool(plan.work)

    def fail_all(self, error: BaseException) -> None:
        """Tell every open stream, queued submissions included, that the engine is gone."""
        for output in [*self._outputs.values()]:
            output.stream.fail(error)
            self.mail.add(output.stream)
        self._outputs.clear()
        while not self._inbox.empty():
            command = self._inbox.get_nowait()
            if isinstance(command, Submit):
                command.stream.fail(error)
                self.mail.add(command.stream)
        self.mail.flush()

    def close(self) -> None:
        """End every stream with `EngineClosed`."""
        self.fail_all(EngineClosed("The engine was closed while this answer was being generated."))

    def _drain(self) -> None:
        while not self._inbox.empty():  # nobody else takes anything out
            self._handle(self._inbox.get_nowait())

    def _handle(self, command: Command | None) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Cancel(stream):
                if (output := self._output_of(stream)) is not None:
                    self._finish(output, FinishReason.CANCELLED)
            case Resume(stream):
                if (output := self._output_of(stream)) is not None:
                    output.sequence.paused = False
            case Forget(session_id):
                self.encoder.forget(session_id)
                self.scheduler.forget(session_id)
            case Focus(session_id):
                self.scheduler.focus(session_id)
            case None:
                pass

    def _output_of(self, stream: TokenStream) -> RequestOutput | None:
        return next((output for output in self._outputs.values() if output.stream is stream), None)

    def _submit(self, command: Submit) -> None:
        seed = resolve_seed(command.sampling)
        sampling = replace(command.sampling, seed=seed)
        sequence = Sequence(
            next(self._ids),
            command.tokens,
            sampling,
            command.session_id,
            command.priority,
            command.head_tokens,
        )
        output = RequestOutput(sequence, command.stream, submitted=command.submitted, seed=seed)
        if command.stream.cancel_requested:
            output.finish(FinishReason.CANCELLED, self._clock())
            self.mail.add(command.stream)
            return
        try:
            if not sequence.tokens:
                raise InvalidRequest("The prompt is empty.")
            self.scheduler.add(sequence)
        except RequestError as error:
            self._fail(output, error)
            return
        self._backend.open_sampler(sequence.request_id, sampling, sequence.tokens, command.constraint)
        self._outputs[sequence.request_id] = output

    def _note_admissions(self, now: float) -> None:
        for sequence in self.scheduler.running:
            self._outputs[sequence.request_id].admitted(now)

    def _park(self, plan: StepPlan, result: StepResult) -> None:
        """Keep the states that were saved, and learn what it took."""
        swapped = 0
        for move in plan.moves:
            if isinstance(move, Save) and (state := result.saved.get(move.key)) is not None:
                self.parking.put(move.key, move.tokens, state)
                swapped += len(state)
            elif isinstance(move, Restore):
                swapped += len(move.state)
        if swapped:
            self.scheduler.costs.note_swap(swapped, result.swap_s)

    def _settle(self, plan: StepPlan, result: StepResult) -> None:
        """Enter the outcome of a forward, whatever llama_decode said."""
        if result.status is StepStatus.OK:
            self._failed_steps = 0
            self.scheduler.update(plan, result)
            self._emit(result)
        elif result.status is StepStatus.NO_KV:
            if not self.scheduler.relieve():
                self._finish(self._outputs[plan.work[0].request_id], FinishReason.CONTEXT)
        elif result.status is StepStatus.INVALID:
            self._isolate(plan)
        else:
            self._recover(plan)

    def _isolate(self, plan: StepPlan) -> None:
        """Run the parts of an invalid batch alone, to fail only the one that is to blame."""
        for item in plan.work:
            single = StepPlan((item,))
            result = self._backend.execute(single) if len(plan.work) > 1 else StepResult(StepStatus.INVALID)
            if result.status is StepStatus.INVALID:
                self._fail(
                    self._outputs[item.request_id],
                    GenerationFailed("llama.cpp refused this prompt as invalid input."),
                )
            else:
                self._settle(single, result)

    def _recover(self, plan: StepPlan) -> None:
        """After a forward broke off: trust what llama.cpp says is in the cache, and try again."""
        self._failed_steps += 1
        self.scheduler.resync(self._backend.resident)
        if self._failed_steps >= _MAX_FAILED_STEPS:
            for item in plan.work:
                self._fail(
                    self._outputs[item.request_id],
                    GenerationFailed(f"llama.cpp failed to compute {self._failed_steps} times in a row."),
                )

    def _emit(self, result: StepResult) -> None:
        now = self._clock()
        for request_id, tokens in result.sampled.items():
            output = self._outputs[request_id]
            for place, token in enumerate(tokens):
                if (reason := self._take(output, token, len(tokens) - place - 1, now)) is not None:
                    self._finish(output, reason)
                    break
            else:
                output.sequence.paused = output.stream.lagging
            self.mail.add(output.stream)

    def _take(self, output: RequestOutput, token: int, behind: int, now: float) -> FinishReason | None:
        """Hand one token to its reader; tokens sampled behind the end of an answer are dropped."""
        sequence = output.sequence
        first = output.ttft_s is None
        ends_turn = self._backend.is_eog(token) and not sequence.sampling.ignore_eos
        gap = output.token(self._backend.piece(token), now, ends_turn=ends_turn)
        if first:
            self.metrics.first_token(now - output.submitted)
            self.metrics.prompt(sequence.prompt_tokens, sequence.cached_tokens)
        else:
            self.metrics.gap(gap)
        reason = self._finish_reason(output, ends_turn, behind)
        if reason is not None and behind:
            del sequence.tokens[-behind:]
            sequence.computed = min(sequence.computed, len(sequence.tokens) - 1)
        return reason

    def _finish_reason(self, output: RequestOutput, ends_turn: bool, behind: int) -> FinishReason | None:
        sequence = output.sequence
        if ends_turn or output.stopped:
            return FinishReason.STOP
        if sequence.tokens_left is not None and sequence.tokens_left + behind <= 0:
            return FinishReason.LENGTH
        if len(sequence.tokens) - behind > self.scheduler.limits.sequence_cells:
            return FinishReason.CONTEXT
        return None

    def _finish(self, output: RequestOutput, reason: FinishReason) -> None:
        self._retire(output)
        output.finish(reason, self._clock())
        self.metrics.finished(reason)
        self.mail.add(output.stream)

    def _fail(self, output: RequestOutput, error: RequestError) -> None:
        self._retire(output)
        output.stream.fail(error)
        self.metrics.finished(None)
        self.mail.add(output.stream)

    def _retire(self, output: RequestOutput) -> None:
        sequence = output.sequence
        if self._outputs.pop(sequence.request_id, None) is None:
            return
        if sequence.session_id is not None:
            self.encoder.remember(sequence.session_id, sequence.tokens[: sequence.computed])
        self._backend.close_sampler(sequence.request_id)
        self.scheduler.finish(sequence)

    def _measure(self, plan: StepPlan, result: StepResult, start: float) -> None:
        if result.status is StepStatus.OK:
            self.metrics.step(plan, result, busy_s=self._clock() - start)

    def _publish(self, plan: StepPlan) -> None:
        self._live_at = self._clock()
        self._live = live_stats(self.scheduler, self._outputs, plan)


def _make_scheduler(config: EngineConfig, info: ModelInfo, parking: Parking) -> Scheduler:
    target_s = config.step_target_ms / 1000 or _TARGET_S[info.offloaded_layers > 0]
    costs = StepCosts(target_s=target_s)
    limits = SchedulerLimits(
        max_sessions=config.max_sessions,
        max_queue=config.max_queue,
        batch_tokens=config.batch_tokens,
        draft_tokens=config.draft_rows,
        sequence_cells=info.context_tokens,
        token_bytes=info.kv_bytes_per_token,
    )
    cache = PrefixCache(
        slots=config.sequences,
        cells=info.kv_cells,
        split=info.split_cache,
        partial_removal=info.partial_removal,
    )
    return Scheduler(
        limits,
        cache,
        costs=costs,
        parking=parking,
        speculator=Speculator(config.speculation, most=config.draft_tokens, costs=costs),
        # Without flash attention V lies transposed, and a state is read number by number.
        parks=config.parked_ram_mib > 0 and config.flash_attention != "off",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Generate an answer to a tokenised prompt.

    Args:
        tokens: the prompt; head_tokens: how many of them are the system prompt.
        submitted: when, on the engine's clock, in seconds.
    """

    stream: TokenStream
    tokens: list[int]
    sampling: SamplingParams
    session_id: str | None
    submitted: float
    head_tokens: int = 0
    priority: Priority = Priority.NORMAL
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a stream, wherever its request stands."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Resume:
    """The reader of a stream has caught up."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the KV cache of a session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Focus:
    """Somebody looks at a session, or at none."""

    session_id: str | None


Command: TypeAlias = Submit | Cancel | Resume | Forget | Focus
