"""A bare Python loop over `llama_decode` with one sampler for each row: what is left without an engine.

With --cached it measures single forward passes instead: of so many --rows, behind others in the KV cache. The
script imports the binding itself and nothing of ours, so that none of our settings reaches its process.

    python bench/engine/bare.py --model FILE.gguf --sessions 4
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib

_PASSES = 5


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _: Any) -> None:
    """Say nothing."""


class Spent(NamedTuple):
    """Seconds of a loop: all of it, in `llama_decode`, and in the samplers."""

    all: float
    forward: float
    sample: float


class Loop:
    """A model, its context, and a sampler for each sequence; the end of the process frees them."""

    def __init__(self, args: argparse.Namespace) -> None:
        lib.llama_log_set(_on_log, None)
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = args.gpu_layers
        model = lib.llama_model_load_from_file(args.model.encode(), params)
        settings = lib.llama_context_default_params()
        settings.n_ctx = max(args.context, args.batch)
        settings.n_batch = settings.n_ubatch = args.batch
        settings.n_seq_max = args.sessions
        settings.n_threads = settings.n_threads_batch = args.threads
        settings.kv_unified = not args.split
        settings.no_perf = True
        self._context = lib.llama_init_from_model(model, settings) if model else None
        if not self._context:
            raise SystemExit(f"llama.cpp cannot load {args.model}.")
        self._size = args.batch
        self._batch: Any = lib.llama_batch_init(args.batch, 0, 1)
        self._vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self._samplers = [_sampler(seed) for seed in range(args.sessions)]

    def prefill(self, count: int, sequence: int = 0) -> int:
        """Compute `count` random tokens at the start of a sequence, and sample the next."""
        for begin in range(0, count, self._size):
            self._fill(range(begin, min(count, begin + self._size)), sequence)
            self._decode()
        return int(lib.llama_sampler_sample(self._samplers[sequence], self._context, -1))

    def time_pass(self, count: int, start: int) -> float:
        """Seconds of one forward pass of `count` tokens from `start` on, which are removed again."""
        self._fill(range(start, start + count), 0)
        begin = perf_counter()
        self._decode()
        lib.llama_synchronize(self._context)
        took = perf_counter() - begin
        lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), 0, start, -1)
        return took

    def decode(self, tokens: Sequence[int], start: int, steps: int) -> Spent:
        """What `steps` steps take, each with one token of every sequence."""
        batch, context = self._batch, self._context
        for row in range(len(tokens)):
            batch.n_seq_id[row], batch.seq_id[row][0], batch.logits[row] = 1, row, 1
        batch.n_tokens = len(tokens)
        forward = sample = 0.0
        begin = perf_counter()
        for place in range(start, start + steps):
            for row, token in enumerate(tokens):
                batch.token[row], batch.pos[row] = token, place
            filled = perf_counter()
            self._decode()
            decoded = perf_counter()
            tokens = [
                lib.llama_sampler_sample(sampler, context, row) for row, sampler in enumerate(self._samplers)
            ]
            forward += decoded - filled
            sample += perf_counter() - decoded
        return Spent(perf_counter() - begin, forward, sample)

    def _fill(self, places: range, sequence: int) -> None:
        """Random tokens for these places; the last gets logits."""
        batch = self._batch
        for row, place in enumerate(places):
            batch.token[row], batch.pos[row] = random.randrange(self._vocabulary), place
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            batch.logits[row] = place == places[-1]
        batch.n_tokens = len(places)

    def _decode(self) -> None:
        if code := lib.llama_decode(self._context, self._batch):
            raise SystemExit(f"llama_decode returned {code}.")


def _sampler(seed: int) -> Any:
    """A chain with our engine's defaults."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    stages = (
        lib.llama_sampler_init_top_k(40),
        lib.llama_sampler_init_top_p(0.95, 1),
        lib.llama_sampler_init_min_p(0.05, 1),
        lib.llama_sampler_init_temp(0.7),
        lib.llama_sampler_init_dist(seed),
    )
    for stage in stages:
        lib.llama_sampler_chain_add(chain, stage)
    return chain


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second and the time of a step, or the times of forward passes."""
    loop = Loop(args)
    if args.cached:
        loop.prefill(args.cached)
        passes = [[loop.time_pass(rows, args.cached) for rows in args.rows] for _ in range(_PASSES + 1)]
        each = zip(*passes[1:], strict=True)  # the first ones touch fresh buffers
        return {"pass_ms": [round(median(times) * 1e3, 3) for times in each]}
    tokens = [loop.prefill(args.prompt_tokens, sequence=sequence) for sequence in range(args.sessions)]
    spent = loop.decode(tokens, args.prompt_tokens, args.gen_tokens)
    step, forward, sample = (round(seconds / args.gen_tokens * 1e3, 3) for seconds in spent)
    tps = round(args.sessions * args.gen_tokens / spent.all, 3)
    return {"tps": tps, "step_ms": step, "forward_ms": forward, "sample_ms": sample}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a .gguf file")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--gen-tokens", type=int, default=96)
    parser.add_argument("--cached", type=int, default=0, help="measure passes behind this many tokens")
    parser.add_argument("--rows", type=int, nargs="+", default=[1], help="tokens of each such pass")
    parser.add_argument("--context", type=int, default=2048, help="KV cells of all sessions together")
    parser.add_argument("--split", action="store_true", help="one KV cache per session")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    result = measure(args)
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
