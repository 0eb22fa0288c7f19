"""Samples the next tokens of all sequences from the logits of one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.llama.chains import ChainTemplates, is_greedy, preselected, remembers
from engine.llama.device_sampler import DeviceSampler
from engine.llama.lib import lib
from engine.llama.topk import Rows, TokenDataArray, is_samplable, top_pays
from engine.step import Constraint, Work
from engine.types import SamplingParams, TokenLogprob

__all__ = ["RowSampler"]


# Only rows that need the whole vocabulary go to other threads: there llama.cpp works for milliseconds
# without the GIL. All other rows are a few short numpy calls, for which handing the GIL around costs more
# than it gains (measured with 2 threads at up to 64 rows of 262,144).
_PARALLEL_LOGITS = 16_384  # about 1 ms of such work

# Up to this many logits a single call of llama_sampler_sample is faster than the dozen numpy calls of a
# preselection. A forward pass streams all weights through the caches, so each of those calls starts cold
# (0.12 ms against 0.25 for one row of 49,152; break-even at about three rows).
_FEW_LOGITS = 100_000


@dataclass(slots=True)
class _Sampler:
    """The state of one request's sampling.

    `chain` is None when it is greedy; `count` is how many of the likeliest tokens the chain gets, 0 for the
    whole vocabulary; `remembers` means that the chain must accept each token; `bias` is token ids and what is
    added to their logits.
    """

    params: SamplingParams
    constraint: Constraint | None
    chain: Any
    count: int
    remembers: bool
    bias: tuple[npt.NDArray[np.intp], Rows] | None

    @property
    def is_plain(self) -> bool:
        """Whether the chain alone decides."""
        return self.chain is not None and self.constraint is None

    @property
    def is_movable(self) -> bool:
        """Whether a device may sample it: nobody has to see or change its logits."""
        params, bare = self.params, self.constraint is None and self.bias is None
        return bare and not self.remembers and not params.ignore_eos and params.logprobs is None

    @property
    def is_slow(self) -> bool:
        """Whether the chain gets the whole vocabulary."""
        return self.chain is not None and not self.count


@dataclass(frozen=True, slots=True)
class _Job:
    """One sequence's rows, shape (1 + drafts, vocabulary)."""

    request_id: int
    sampler: _Sampler
    rows: Rows
    drafts: tuple[int, ...]


class RowSampler:
    """The samplers of all requests. For one thread at a time; it spreads slow rows over its own threads.

    It chooses the token that `llama_sampler_sample` would choose with the same chain and seed, except between
    equal logits.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        threads: int,
        is_eog: Callable[[int], bool],
        eog_tokens: Callable[[], list[int]] = list,
        context: Any = None,
        vocab: Any = None,
        device: DeviceSampler | None = None,
    ) -> None:
        """
        Args:
            vocab_size: logits in a row.
            threads: limit on the threads to use, including the calling one; they start when they are needed.
            is_eog: whether a token ends the model's turn; thread-safe.
            eog_tokens: all such tokens, for requests that ignore them; called when there is one.
            context: the llama_context of the logits, which samples a few rows itself.
            vocab: the llama_vocab, for DRY.
            device: samples in the forward pass what it can.
        """
        self._vocab_size = vocab_size
        self._threads = max(1, threads)
        self._is_eog = is_eog
        self._eog_tokens = eog_tokens
        self._banned: npt.NDArray[np.intp] | None = None
        self._context = context
        self._device = device
        self._templates = ChainTemplates(vocab_size, vocab)
        self._samplers: dict[int, _Sampler] = {}
        self._arrays: list[TokenDataArray] = []
        self._pool: ThreadPoolExecutor | None = None

    def prepare(self, params: SamplingParams) -> None:
        """Build what the samplers of these parameters share; thread-safe."""
        self._templates.prepare(params)

    def open(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: Constraint | None = None,
    ) -> None:
        """Make the sampler of a request; its penalties have seen the end of the prompt.

        `params.seed` should be set: with None each call draws another one.
        """
        self.close(request_id)
        if params.ignore_eos and self._banned is None:
            self._banned = np.array(self._eog_tokens(), np.intp)
        chain = None if is_greedy(params) else self._templates.make(params, prompt)
        count = preselected(params)
        if not top_pays(self._vocab_size, count):
            count = 0
        bias = None
        if params.logit_bias:
            tokens, values = [*params.logit_bias], [*params.logit_bias.values()]
            bias = np.array(tokens, np.intp), np.array(values, np.float32)
        sampler = _Sampler(params, constraint, chain, count, remembers(params), bias)
        self._samplers[request_id] = sampler

    def change(self, request_id: int, params: SamplingParams, tokens: Sequence[int]) -> None:
        """Use other parameters for a request; its constraint stays."""
        self.open(request_id, params, tokens, self._samplers[request_id].constraint)

    def use_threads(self, threads: int) -> None:
        """Change the limit on the threads."""
        self._threads = max(1, threads)
        pool, self._pool = self._pool, None  # the next one has as many threads as are wanted
        if pool is not None:
            pool.shutdown()

    def close(self, request_id: int) -> None:
        """Free the sampler of a request, if it has one."""
        if self._device is not None:
            self._device.leave(request_id)
        sampler = self._samplers.pop(request_id, None)
        if sampler is not None and sampler.chain is not None:
            lib.llama_sampler_free(sampler.chain)

    def close_all(self) -> None:
        """Free all samplers and end the threads."""
        for request_id in [*self._samplers]:
            self.close(request_id)
        if self._device is not None:
            self._device.close()
        self._templates.close()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def use_device(self, device: DeviceSampler | None) -> None:
        """Sample on a device from now on, or not."""
        old, self._device = self._device, device
        if old is not None:
            old.close()

    def place(self, work: Sequence[Work]) -> None:
        """Before a forward pass: have it sample what it can of this work."""
        if self._device is None:
            return
        for item in work:
            sampler = self._samplers[item.request_id]
            if sampler.is_movable:
                self._device.place(item.slot, item.request_id, sampler.params, sampler.chain)
            else:
                self._device.clear(item.slot)

    def sample(self, logits: Rows, work: Sequence[Work]) -> dict[int, tuple[int, ...]]:
        """Choose tokens for each sequence with rows.

        With drafts, the first row is sampled; while the choice equals the draft, the next row is sampled,
        too. So the tokens are those that sampling one at a time would have given, and random numbers,
        penalties and constraints advance once per returned token. A choice that a constraint rejects costs
        one more random number, with drafts and without.

        Args:
            logits: shape (rows of all work, vocabulary). It is changed: tokens that a constraint or
                `ignore_eos` forbids become -inf.
            work: the items with rows, in the order of their rows.

        Returns:
            Request id -> accepted drafts and the token after them. Nothing follows an end-of-turn token,
            unless the request ignores it.
        """
        jobs = self._jobs(logits, work)
        sampled: dict[int, tuple[int, ...]] = {}
        if self._device is not None:
            sampled = self._sampled_by_device(self._device, jobs, len(logits))
            jobs = [job for job in jobs if job.request_id not in sampled]
        for job in jobs:
            self._change(job)
        if self._context is not None and logits.size <= _FEW_LOGITS and self._are_plain(jobs, logits):
            return self._sample_few(jobs, logits)
        return sampled | self._sample_jobs(jobs)

    def _sample_jobs(self, jobs: list[_Job]) -> dict[int, tuple[int, ...]]:
        slow = [job for job in jobs if job.sampler.is_slow]
        threads = min(self._threads, len(slow))
        if threads < 2 or len(slow) * self._vocab_size < _PARALLEL_LOGITS:
            return self._run(jobs, self._array(0))
        others = self._start([slow[part::threads] for part in range(1, threads)])
        try:
            mine = slow[::threads] + [job for job in jobs if not job.sampler.is_slow]
            sampled = self._run(mine, self._array(0))
        finally:
            wait(others)  # the logits must outlive them
        for other in others:
            sampled |= other.result()
        return sampled

    def _jobs(self, logits: Rows, work: Sequence[Work]) -> list[_Job]:
        if logits.shape != (rows := sum(item.rows for item in work), self._vocab_size):
            raise ValueError(f"{rows} rows of {self._vocab_size} logits expected, not {logits.shape}")
        jobs, start = [], 0
        for item in work:
            end = start + item.rows
            jobs.append(
                _Job(item.request_id, self._samplers[item.request_id], logits[start:end], item.drafts)
            )
            start = end
        return jobs

    def _change(self, job: _Job) -> None:
        """Add biases, and ban the end of the turn for a request that ignores it."""
        if job.sampler.bias is not None:
            tokens, values = job.sampler.bias
            job.rows[:, tokens] += values
        if job.sampler.params.ignore_eos and self._banned is not None:
            job.rows[:, self._banned] = -np.inf

    def logprobs(
        self, logits: Rows, work: Sequence[Work]
    ) -> Callable[[dict[int, tuple[int, ...]]], dict[int, tuple[TokenLogprob, ...]]]:
        """Remember how likely the tokens are for the requests that want to know, before `sample` changes the
        logits; call the result with what was sampled."""
        kept = {
            job.request_id: (job.rows.copy(), job.sampler.params.logprobs)
            for job in self._jobs(logits, work)
            if job.sampler.params.logprobs is not None
        }

        def of(sampled: dict[int, tuple[int, ...]]) -> dict[int, tuple[TokenLogprob, ...]]:
            return {
                request_id: tuple(
                    _logprob(row, token, top or 0)
                    for row, token in zip(rows, sampled[request_id], strict=False)
                )
                for request_id, (rows, top) in kept.items()
            }

        return of

    def _sampled_by_device(
        self, device: DeviceSampler, jobs: list[_Job], rows: int
    ) -> dict[int, tuple[int, ...]]:
        """The tokens that the forward pass itself has sampled."""
        sampled: dict[int, tuple[int, ...]] = {}
        row = -rows
        for job in jobs:
            if device.samples(job.request_id):
                tokens = (device.token(job.request_id, row + at) for at in range(len(job.rows)))
                sampled[job.request_id] = self._accepted(job, tokens)
            row += len(job.rows)
        return sampled

    @staticmethod
    def _are_plain(jobs: list[_Job], logits: Rows) -> bool:
        """Whether these are all the rows, and one chain each decides."""
        return len(jobs) == len(logits) and all(job.sampler.is_plain for job in jobs)

    def _sample_few(self, jobs: list[_Job], logits: Rows) -> dict[int, tuple[int, ...]]:
        """Let llama.cpp sample its own logits, except rows that could crash it: those take their argmax."""
        sampled: dict[int, tuple[int, ...]] = {}
        for row, (job, best) in enumerate(zip(jobs, logits.argmax(axis=1).tolist(), strict=True)):
            if is_samplable(logits.item(row, best)):
                best = lib.llama_sampler_sample(job.sampler.chain, self._context, row - len(jobs))
            sampled[job.request_id] = (best,)
        return sampled

    def _start(self, parts: list[list[_Job]]) -> list[Future[dict[int, tuple[int, ...]]]]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="sample")
        return [
            self._pool.submit(self._run, jobs, self._array(number)) for number, jobs in enumerate(parts, 1)
        ]

    def _array(self, number: int) -> TokenDataArray:
        while len(self._arrays) <= number:
            self._arrays.append(TokenDataArray(self._vocab_size))
        return self._arrays[number]

    def _run(self, jobs: list[_Job], array: TokenDataArray) -> dict[int, tuple[int, ...]]:
        return {job.request_id: self._verify(job, array) for job in jobs}

    def _verify(self, job: _Job, array: TokenDataArray) -> tuple[int, ...]:
        return self._accepted(job, (self._next(job.sampler, row, array) for row in job.rows))

    def _accepted(self, job: _Job, choices: Iterable[int]) -> tuple[int, ...]:
        """The choices up to the first that is not the draft, or ends the turn."""
        tokens: list[int] = []
        for token, draft in zip(choices, (*job.drafts, -1), strict=False):
            tokens.append(token)
            if token != draft or (not job.sampler.params.ignore_eos and self._is_eog(token)):
                break
        return tuple(tokens)

    def _next(self, sampler: _Sampler, row: Rows, array: TokenDataArray) -> int:
        token = self._choose(sampler, row, array)
        if sampler.constraint is not None:
            if not sampler.constraint.allows(token):
                token = self._choose_allowed(sampler, sampler.constraint, row, array)
            sampler.constraint.accept(token)
        if sampler.remembers:
            lib.llama_sampler_accept(sampler.chain, token)
        return token

    def _choose(self, sampler: _Sampler, row: Rows, array: TokenDataArray) -> int:
        if sampler.chain is None:
            return int(row.argmax())
        return array.draw(sampler.chain, row, sampler.count)

    def _choose_allowed(
        self, sampler: _Sampler, constraint: Constraint, row: Rows, array: TokenDataArray
    ) -> int:
        mask = constraint.mask()
        row[~mask] = -np.inf
        token = self._choose(sampler, row, array)
        return token if mask[token] else int(mask.argmax())  # every allowed token was at -inf before


def _logprob(row: Rows, token: int, top: int) -> TokenLogprob:
    """The log-probability of a token by the model's own logits, and those of the likeliest tokens."""
    best = float(row.max())
    total = best + float(np.log(np.exp(row - best).sum()))
    places = np.argpartition(row, -top)[-top:] if top else np.empty(0, np.intp)
    likeliest = places[np.argsort(-row[places], kind="stable")]
    others = tuple((int(place), float(row[place]) - total) for place in likeliest)
    return TokenLogprob(token, float(row[token]) - total, others)
