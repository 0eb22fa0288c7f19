"""Sampling many rows, beside llama.cpp's own sampler one row after the other.

Both sample the same logits of a real context (a tiny model with random weights and the vocabulary asked for,
whose rows are overwritten with normal noise), with the same chain and seeds: `RowSampler.sample` for all rows
at once, `llama_sampler_sample` row by row. Both must choose the same tokens, except 1 in 100, since equal
logits at a boundary may fall either way. The sides run in turns.

    python bench/engine/sampling.py --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import gguf
import numpy as np

from bench.cli import add_limits, counts, limits
from bench.ratios import Limits, Ratio
from engine.llama.chains import build_chain, chain_stages
from engine.llama.lib import init_backend, lib
from engine.llama.sampler import RowSampler
from engine.llama.topk import Rows
from engine.step import Work
from engine.types import SamplingParams

WIDTH = 32  # the model's embedding size


def write_model(path: Path, vocab_size: int) -> None:
    """Write a Llama of one layer with random weights and no tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(vocab_size)
    writer.add_tokenizer_model("none")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    rng = np.random.default_rng(0)
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", rng.standard_normal((vocab_size, WIDTH), np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", rng.standard_normal((WIDTH, WIDTH), np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def context_with_logits(vocab_size: int, rows: int) -> Iterator[tuple[Any, Rows]]:
    """A context after a forward pass of `rows` rows, and its writable logits."""
    init_backend()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_model(path, vocab_size)
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        model = lib.llama_model_load_from_file(str(path).encode(), params)
    settings = lib.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(128, rows)
    context = lib.llama_init_from_model(model, settings)
    batch = lib.llama_batch_init(rows, 0, 1)
    batch.n_tokens = rows
    for row in range(rows):
        batch.token[row], batch.pos[row], batch.logits[row] = row, row, 1
        batch.n_seq_id[row], batch.seq_id[row][0] = 1, 0
    if lib.llama_decode(context, batch) != 0:
        raise SystemExit("llama.cpp failed to run the model.")
    yield context, np.ctypeslib.as_array(lib.llama_get_logits(context), (rows, vocab_size))
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)


@dataclass(slots=True)
class Times:
    """Seconds of each round, and in how many rows both sides chose the same token."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    rows: int = 0
    same: int = 0

    @property
    def ratio(self) -> Ratio:
        """Ours over llama.cpp's."""
        return Ratio.between(self.ours, self.peer)


def measure(vocab_size: int, rows: int, limits: Limits, threads: int) -> dict[str, Any]:
    """Medians of both sides, and their ratio."""
    chains = []
    sampler = RowSampler(vocab_size=vocab_size, threads=threads, is_eog=lambda token: False)
    for row in range(rows):
        params = SamplingParams(seed=row)
        sampler.open(row, params, [])
        chains.append(build_chain(chain_stages(params, seed=row, vocab_size=vocab_size)))
    rng = np.random.default_rng(1)
    times, cold = Times(), Times()
    with context_with_logits(vocab_size, rows) as (context, logits):
        for number in chain([-2, -1], limits.numbers(lambda: [times.ratio])):
            logits[:] = rng.standard_normal(logits.shape, np.float32) * 3
            _round(sampler, chains, context, logits, cold if number < 0 else times)
    for built in chains:
        lib.llama_sampler_free(built)
    sampler.close_all()
    if times.same < 0.99 * times.rows:
        raise SystemExit(f"Only {times.same} of {times.rows} tokens agree.")
    return {
        "vocabulary": vocab_size,
        "rows": rows,
        "ours_ms": round(median(times.ours) * 1e3, 3),
        "llama_sampler_sample_ms": round(median(times.peer) * 1e3, 3),
        **times.ratio.entry(),
    }


def _round(sampler: RowSampler, chains: Sequence[Any], context: Any, logits: Rows, times: Times) -> None:
    """Sample all rows with both sides."""
    work = [Work(row, row, 0, (0,), 1) for row in range(len(chains))]
    began = perf_counter()
    ours = sampler.sample(logits, work)
    between = perf_counter()
    peer = [lib.llama_sampler_sample(built, context, row) for row, built in enumerate(chains)]
    times.peer.append(perf_counter() - between)
    times.ours.append(between - began)
    times.rows += len(peer)
    times.same += sum(ours[row] == (token,) for row, token in enumerate(peer))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vocabularies", type=counts, default=(49152, 151936, 262144))
    parser.add_argument("--rows", type=counts, default=(1, 8, 32, 64))
    parser.add_argument("--threads", type=int, default=2)
    add_limits(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    rows = []
    if not args.json:
        print(f"{'vocabulary':>10} {'rows':>5} {'ours':>9} {'llama.cpp':>9}   ms; ratio")
    for vocab_size, count in product(args.vocabularies, args.rows):
        row = measure(vocab_size, count, limits(args), args.threads)
        rows.append(row)
        if not args.json:
            numbers = f"{vocab_size:10} {count:5} {row['ours_ms']:9} {row['llama_sampler_sample_ms']:9}"
            print(f"{numbers}   {Ratio.read(row)}, {row['rounds']} rounds", flush=True)
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
