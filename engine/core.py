"""One step of the engine: drain the inbox, schedule, execute, book, emit.

No loop and no thread: `EngineWorker` adds those, tests call `step` directly. Other threads ask for work by
posting a `Command`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TypeAlias

from engine.config import EngineConfig
from engine.errors import EngineClosed, GenerationFailed, InvalidRequest, RequestError
from engine.kv import Parking, PrefixCache, WholePrefixCache
from engine.metrics import Metrics, live_stats, with_totals
from engine.schedule import Scheduler, SchedulerLimits, Speculator, StepCosts, TokenSequence
from engine.step import Backend, Constraint, ModelInfo, Move, Restore, Save, StepPlan, StepResult, StepStatus
from engine.stream import Mailroom, TokenStream
from engine.text import PromptEncoder, ReplyParser, RequestOutput
from engine.types import EngineStats, FinishReason, Priority, SamplingParams, TokenLogprob, resolve_seed

__all__ = ["Adjust", "Cancel", "Change", "Command", "EngineCore", "Focus", "Forget", "Resume", "Submit"]

_MAX_FAILED_STEPS = 3
_SNAPSHOT_S = 0.1
_TILE = 64  # rows from which llama.cpp's flash attention on a CPU works in tiles
_TARGET_S = {False: 0.1, True: 0.05}  # latency target of a step, on a CPU and on a GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Generate an answer to a tokenised prompt.

    Args:
        tokens: the prompt; head_tokens, turn_tokens: see `TokenSequence`.
        submitted: when, on the engine's clock, in seconds.
        progress: whether the stream tells how much of the prompt is computed.
        parser: tells the parts of the reply apart, if the request wants that.
    """

    stream: TokenStream
    tokens: list[int]
    sampling: SamplingParams
    session_id: str | None
    submitted: float
    head_tokens: int = 0
    turn_tokens: int = 0
    priority: Priority = Priority.NORMAL
    constraint: Constraint | None = None
    progress: bool = False
    parser: ReplyParser | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a stream, whether its request is running, waiting or still unknown."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Resume:
    """The reader of a stream has caught up."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Adjust:
    """Apply what was asked for a stream since it was submitted: pause, priority, sampling."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Change:
    """Use other settings, all of which a running engine can change (`EngineConfig.reload_for`)."""

    config: EngineConfig


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the KV cache of a session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Focus:
    """Serve this session first; None: no session."""

    session_id: str | None


Command: TypeAlias = Submit | Cancel | Resume | Adjust | Change | Forget | Focus


class EngineCore:
    """Owns scheduler, outputs and parked states; one thread makes every call except `post` and `stats`."""

    def __init__(
        self, config: EngineConfig, backend: Backend, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.parking = self._make_parking(config)
        self.encoder = PromptEncoder(backend)
        self._config = config
        self.scheduler = _make_scheduler(config, backend.info, self.parking)
        self.metrics = Metrics()
        self.mail = Mailroom()
        self._backend = backend
        self._clock = clock
        self._inbox: SimpleQueue[Command | None] = SimpleQueue()
        self._ids = itertools.count(1)
        self._outputs: dict[int, RequestOutput] = {}
        self._untold: list[tuple[RequestOutput, Sequence[int], Sequence[TokenLogprob]]] = []
        self._failed_steps = 0
        self._ended: BaseException | None = None  # what every stream has got
        self._live = EngineStats()
        self._live_at = 0.0

    # Any thread

    def post(self, command: Command | None) -> None:
        """Hand a command to the engine thread; None only wakes it. After the end, a submission fails."""
        self._inbox.put(command)
        if self._ended is not None:
            self._refuse(self._ended)

    def stats(self) -> EngineStats:
        """A frozen snapshot; the live fields are at most a tenth of a second old."""
        return with_totals(self._live, self.metrics.snapshot())

    # Engine thread

    def wait(self) -> None:
        """Block until a command arrives."""
        self._publish(StepPlan())
        self._handle(self._inbox.get())

    def step(self) -> bool:
        """Do one step; False when there was nothing to do."""
        start = self._clock()
        self._drain()
        plan = self.scheduler.schedule()
        if plan.work:
            self._record_admissions(start)
            result = self._execute(plan)
            self._apply(plan, result)
            self._measure(plan, result, start)
        else:
            self._catch_up()
            if plan.moves and self._execute(plan).status is StepStatus.LOST:
                self._resync(plan)
        self.mail.flush()
        if self._clock() - self._live_at > _SNAPSHOT_S:
            self._publish(plan)
        return bool(plan.work)

    def start(self) -> None:
        """From now on, wake readers from a separate thread."""
        self.mail.start()

    def stop(self) -> None:
        """Deliver the rest and drop the parked states."""
        self.mail.stop()
        self.parking.close()

    def fail_all(self, error: BaseException) -> None:
        """End every open stream with an error, including those of queued and of later submissions."""
        self._ended = error
        self._catch_up()
        for output in [*self._outputs.values()]:
            output.stream.fail(error)
            self.mail.add(output.stream)
        self._outputs.clear()
        self._refuse(error)

    def _refuse(self, error: BaseException) -> None:
        """Fail the submissions in the inbox; any thread, once the engine thread reads it no more."""
        with suppress(Empty):
            while True:
                command = self._inbox.get_nowait()
                if isinstance(command, Submit):
                    command.stream.fail(error)
                    self.mail.add(command.stream)
        self.mail.flush()

    def close(self) -> None:
        """End every stream with `EngineClosed`."""
        self.fail_all(EngineClosed("The engine was closed while this answer was being generated."))

    # Commands

    def _drain(self) -> None:
        while not self._inbox.empty():  # this thread is the only consumer
            self._catch_up()  # a command may end an answer
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
                    self.scheduler.resume(output.sequence)
            case Adjust(stream):
                if (output := self._output_of(stream)) is not None:
                    self._adjust(output)
            case Change(config):
                self._change(config)
            case Forget(session_id):
                self.encoder.forget(session_id)
                self._make(self.scheduler.forget(session_id))
            case Focus(session_id):
                self.scheduler.focus(session_id)
            case None:
                pass

    def _output_of(self, stream: TokenStream) -> RequestOutput | None:
        return next((output for output in self._outputs.values() if output.stream is stream), None)

    def _submit(self, command: Submit) -> None:
        stream, seed = command.stream, resolve_seed(command.sampling)
        stream.seed = seed
        sampling = replace(command.sampling, seed=seed)
        sequence = TokenSequence(
            next(self._ids),
            command.tokens,
            sampling,
            command.session_id,
            command.priority,
            command.head_tokens,
            command.turn_tokens,
        )
        output = RequestOutput(
            sequence,
            stream,
            piece=self._piece,
            submitted=command.submitted,
            progress=command.progress,
            parser=command.parser,
        )
        if stream.cancel_requested:
            output.finish(FinishReason.CANCELLED, self._clock())
            self.metrics.finished(FinishReason.CANCELLED)
            self.mail.add(stream)
            return
        try:
            if not sequence.tokens:
                raise InvalidRequest("The prompt is empty.")
            self.scheduler.add(sequence)
        except RequestError as error:
            self._fail(output, error)
            return
        self._outputs[sequence.request_id] = output  # first: whatever breaks from here on reaches its reader
        self._backend.open_sampler(sequence.request_id, sampling, sequence.tokens, command.constraint)
        self._adjust(output)

    def _piece(self, token: int) -> bytes:
        """A token's bytes; a reload changes the backend under an answer."""
        return self._backend.piece(token)

    def _adjust(self, output: RequestOutput) -> None:
        stream, sequence = output.stream, output.sequence
        sampling = stream.take_sampling()
        if sampling is not None:
            old = sequence.sampling
            sampling = replace(
                sampling,
                seed=old.seed if sampling.seed is None else sampling.seed,
                stop=old.stop,
                json_schema=old.json_schema,
                grammar=old.grammar,
                logprobs=old.logprobs,
            )
            self._backend.change_sampler(sequence.request_id, sampling, sequence.tokens)
        self.scheduler.adjust(sequence, held=stream.held, priority=stream.priority, sampling=sampling)

    def _change(self, config: EngineConfig) -> None:
        self.scheduler.change(
            _limits(config, self._backend.info, loaded=self._config),
            target_s=_target_s(config, self._backend.info),
            speculation=config.speculation,
            most=config.draft_tokens,
        )
        self._backend.use_threads(config.thread_count, config.sampling_thread_count)
        self.parking.limit(config.parked_ram_mib << 20)

    # A reload

    def suspend(self) -> None:
        """Before the backend is closed: return every request to the queue, and park what is worth it."""
        self._drain()
        self._catch_up()
        self._make(self.scheduler.suspend())
        for request_id in self._outputs:
            self._backend.close_sampler(request_id)

    def adopt(self, config: EngineConfig, backend: Backend) -> None:
        """Serve what is waiting with another backend, which has the same vocabulary."""
        old, self._config, self._backend = self._config, config, backend
        if _parks_as(old) != _parks_as(config):
            self.parking.close()
            self.parking = self._make_parking(config)
        else:
            self.parking.limit(config.parked_ram_mib << 20)
        self.encoder.use(backend)
        before, self.scheduler = self.scheduler, _make_scheduler(config, backend.info, self.parking)
        self.scheduler.take_over(before)
        for output in [*self._outputs.values()]:
            self._readmit(output)

    def _readmit(self, output: RequestOutput) -> None:
        """Make the sampler of a request anew, or end the request if the context is too small for it now."""
        sequence = output.sequence
        try:
            constraint = self._backend.constrain(sequence.sampling)
            if constraint is not None:
                for token in sequence.tokens[sequence.prompt_tokens :]:
                    constraint.accept(token)
            self._backend.open_sampler(sequence.request_id, sequence.sampling, sequence.tokens, constraint)
            self.scheduler.check_fits(sequence)
        except RequestError as error:
            self._fail(output, error)
            return
        if len(sequence.tokens) > self.scheduler.limits.sequence_cells:
            self._finish(output, FinishReason.CONTEXT)

    def _make_parking(self, config: EngineConfig) -> Parking:
        return Parking(
            ram_bytes=config.parked_ram_mib << 20,
            disk_bytes=config.parked_disk_mib << 20,
            folder=config.parked_folder,
            wake=lambda: self.post(None),
        )

    # Steps

    def _record_admissions(self, now: float) -> None:
        for sequence in self.scheduler.running:
            self._outputs[sequence.request_id].admitted(now)

    def _make(self, moves: Iterable[Move]) -> None:
        """Make moves now, between two steps."""
        if plan_moves := tuple(moves):
            self._execute(StepPlan(moves=plan_moves))

    def _execute(self, plan: StepPlan) -> StepResult:
        """Have the backend execute a plan, park the saved states, and learn the cost of swapping."""
        result, swapped = self._backend.execute(plan, self._catch_up if self._untold else None), 0
        self._catch_up()
        for move in plan.moves:
            if isinstance(move, Save) and (state := result.saved.get(move.key)) is not None:
                self.parking.put(move.key, move.tokens, state)
                swapped += len(state)
            elif isinstance(move, Restore):
                swapped += len(move.state)
        if swapped:
            self.scheduler.costs.record_swap(swapped, result.swap_s)
        return result

    def _apply(self, plan: StepPlan, result: StepResult) -> None:
        """Apply the result of a plan, whatever its status."""
        if result.status is StepStatus.OK:
            self._failed_steps = 0
            self._book(plan, result)
        elif result.status is StepStatus.NO_KV:
            if (freed := self.scheduler.relieve()) is not None:
                self._make(freed)
            else:
                self._finish(self._outputs[plan.work[0].request_id], FinishReason.CONTEXT)
        elif result.status is StepStatus.INVALID:
            self._isolate(plan)
        elif result.status is StepStatus.LOST:
            self._resync(plan)
        else:
            self._recover(plan)

    def _isolate(self, plan: StepPlan) -> None:
        """Run the parts of an invalid batch one by one, to fail only the culprit."""
        for item in plan.work:
            output = self._outputs[item.request_id]
            if output.sequence.slot != item.slot:
                continue  # preempted by a part before it that found no cells
            single = StepPlan((item,))
            result = self._backend.execute(single) if len(plan.work) > 1 else StepResult(StepStatus.INVALID)
            if result.status is StepStatus.INVALID:
                self._fail(output, GenerationFailed("llama.cpp refused this prompt as invalid input."))
            else:
                self._apply(single, result)

    def _recover(self, plan: StepPlan) -> None:
        """After an aborted forward pass: try again, unless it has failed too often in a row."""
        self._failed_steps += 1
        self._resync(plan)
        if self._failed_steps >= _MAX_FAILED_STEPS:
            self._failed_steps = 0
            for item in plan.work:
                self._fail(
                    self._outputs[item.request_id],
                    GenerationFailed(f"llama.cpp failed to compute {_MAX_FAILED_STEPS} times in a row."),
                )

    def _resync(self, plan: StepPlan) -> None:
        """Take over what llama.cpp says is in the cache."""
        self._make(self.scheduler.resync(plan, self._backend.resident))

    def _book(self, plan: StepPlan, result: StepResult) -> None:
        """Emit the sampled tokens, book those that count, and finish the answers that end with them."""
        kept, ended = self._emit(result)
        self._make(self.scheduler.update(plan, result, kept))
        for item in plan.work:
            if item.is_prefill and (output := self._outputs[item.request_id]).progress:
                output.tell_progress()
                self.mail.add(output.stream)
        for output, reason in ended:
            self._finish(output, reason)

    def _emit(self, result: StepResult) -> tuple[dict[int, int], list[tuple[RequestOutput, FinishReason]]]:
        """Hand the sampled tokens to their readers, or leave that for the next forward pass of a GPU.

        Returns:
            For the answers that end: request id -> how many of the sampled tokens belong to it, and a list
            of outputs with their reasons.
        """
        now = self._clock()
        waits = self._backend.info.offloaded_layers > 0
        kept: dict[int, int] = {}
        ended: list[tuple[RequestOutput, FinishReason]] = []
        gaps: list[float] = []
        for request_id, tokens in result.sampled.items():
            output = self._outputs[request_id]
            if (gap := output.step(now, len(tokens))) is not None:
                gaps += [gap] * len(tokens)
            count, reason = self._end_within(output, tokens)
            news = tokens[:count], result.logprobs.get(request_id, ())
            if waits and reason is None and output.spoke and not output.sequence.sampling.stop:
                self._untold.append((output, *news))
                continue
            ends = reason is FinishReason.STOP
            if (stopped := self._tell(output, *news, ends_turn=ends, urgent=not output.spoke)) is not None:
                count, reason = stopped, FinishReason.STOP
            if reason is not None:
                kept[request_id] = count
                ended.append((output, reason))
            elif output.stream.lagging:
                self.scheduler.pause(output.sequence)
            if gap is None:
                self._record_first(output, now)
        self.metrics.gaps(gaps)
        return kept, ended

    def _record_first(self, output: RequestOutput, now: float) -> None:
        """Record a request's first token."""
        self.metrics.first_token(now - output.submitted)
        self.metrics.prompt(output.sequence.prompt_tokens, output.sequence.cached_tokens)

    def _end_within(self, output: RequestOutput, tokens: Sequence[int]) -> tuple[int, FinishReason | None]:
        """How many of the sampled tokens belong to an answer, and why it ends with them, if it does; stop
        strings are found later, in the text."""
        sequence = output.sequence
        for count, token in enumerate(tokens, 1):
            if self._backend.is_eog(token) and not sequence.sampling.ignore_eos:
                return count, FinishReason.STOP
            if (left := sequence.tokens_left) is not None and left <= count:
                return count, FinishReason.LENGTH
            if len(sequence.tokens) + count > self.scheduler.limits.sequence_cells:
                return count, FinishReason.CONTEXT
        return len(tokens), None

    def _tell(
        self,
        output: RequestOutput,
        tokens: Sequence[int],
        logprobs: Sequence[TokenLogprob],
        *,
        ends_turn: bool = False,
        urgent: bool = False,
    ) -> int | None:
        """Hand tokens and their text to the reader.

        Args:
            ends_turn: whether the last token does.

        Returns:
            How many of them came up to the end of a stop string; None if none was found.
        """
        stopped = None
        for count, token in enumerate(tokens, 1):
            logprob = logprobs[count - 1] if logprobs else None
            output.token(token, logprob, ends_turn=ends_turn and count == len(tokens))
            if output.stopped:
                stopped = count
                break
        self.mail.add(output.stream, urgent=urgent)
        return stopped

    def _catch_up(self) -> None:
        """Hand over what was sampled in the step before, best while the GPU computes the next."""
        if not self._untold:
            return
        untold, self._untold = self._untold, []
        for output, tokens, logprobs in untold:
            self._tell(output, tokens, logprobs)
            if output.stream.lagging:
                self.scheduler.pause(output.sequence)
        self.mail.flush()

    def _measure(self, plan: StepPlan, result: StepResult, start: float) -> None:
        if result.status is StepStatus.OK:
            self.metrics.step(plan, result, busy_s=self._clock() - start)

    def _publish(self, plan: StepPlan) -> None:
        self._live_at = self._clock()
        self._live = live_stats(self.scheduler, self._outputs, plan)

    # Ends

    def _finish(self, output: RequestOutput, reason: FinishReason) -> None:
        self._retire(output)
        output.finish(reason, self._clock())
        self._leave(output, reason)

    def _fail(self, output: RequestOutput, error: RequestError) -> None:
        self._retire(output)
        output.stream.fail(error)
        self._leave(output, None)

    def _leave(self, output: RequestOutput, reason: FinishReason | None) -> None:
        """Drop a request whose stream has ended; None is a failure."""
        self._outputs.pop(output.sequence.request_id, None)
        self.metrics.finished(reason)
        self.mail.add(output.stream, urgent=True)

    def _retire(self, output: RequestOutput) -> None:
        """Free what a request holds; until its stream has ended, a crash must find it among the outputs."""
        sequence = output.sequence
        if sequence.request_id not in self._outputs:
            return
        if sequence.session_id is not None and sequence.computed:  # else what is known is more
            self.encoder.remember(sequence.session_id, sequence.tokens[: sequence.computed])
        self._backend.close_sampler(sequence.request_id)
        self._make(self.scheduler.finish(sequence))


def _make_scheduler(config: EngineConfig, info: ModelInfo, parking: Parking) -> Scheduler:
    limits = _limits(config, info, loaded=config)
    costs = StepCosts(target_s=_target_s(config, info), token_bytes=info.kv_bytes_per_token, tile=limits.tile)
    # Without flash attention V is transposed in the cache, and llama.cpp reads a state number by number.
    parks = config.flash_attention != "off"

    def worth_parking(tokens: int) -> bool:
        size = tokens * info.kv_bytes_per_token
        return parks and parking.takes(size) and costs.worth_parking(tokens)

    kind = PrefixCache if info.partial_removal else WholePrefixCache
    cache = kind(
        slots=config.sequences,
        cells=info.kv_cells,
        split=info.split_cache,
        worth_parking=worth_parking,
    )
    return Scheduler(
        limits,
        cache,
        costs=costs,
        parking=parking,
        speculator=Speculator(config.speculation, most=config.draft_tokens, costs=costs),
    )


def _parks_as(config: EngineConfig) -> tuple[object, ...]:
    """Where parked states lie, and what decides whether another context can read them."""
    return (
        config.parked_folder,
        config.parked_disk_mib,
        config.kv_type,
        config.flash_attention,
        config.split_cache,
    )


def _target_s(config: EngineConfig, info: ModelInfo) -> float:
    return config.step_target_ms / 1000 or _TARGET_S[info.offloaded_layers > 0]


def _limits(config: EngineConfig, info: ModelInfo, *, loaded: EngineConfig) -> SchedulerLimits:
    """The limits by these settings, for a context that was made by those."""
    return SchedulerLimits(
        max_running=config.max_sessions,
        max_queue=config.max_queue,
        batch_tokens=loaded.batch_tokens,
        draft_tokens=loaded.draft_rows,
        sequence_cells=info.context_tokens,
        tile=_TILE if _has_tiles(info, loaded) else 0,
    )


def _has_tiles(info: ModelInfo, loaded: EngineConfig) -> bool:
    """Whether flash attention runs on a CPU, with numbers that llama.cpp can compute in tiles."""
    return info.offloaded_layers == 0 and loaded.flash_attention != "off" and loaded.kv_type == "f16"
