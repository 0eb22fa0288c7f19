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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import gguf
import numpy as np

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


def measure(vocab_size: int, rows: int, rounds: int, threads: int) -> dict[str, Any]:
    """Medians of both sides, and the median of the rounds' ratios."""
    chains = []
    sampler = RowSampler(vocab_size=vocab_size, threads=threads, is_eog=lambda token: False)
    for row in range(rows):
        params = SamplingParams(seed=row)
        sampler.open(row, params, [])
        chains.append(build_chain(chain_stages(params, seed=row, vocab_size=vocab_size)))
    work = [Work(row, row, 0, (0,), 1) for row in range(rows)]
    rng = np.random.default_rng(1)
    ours_s, peer_s, same = [], [], 0
    with context_with_logits(vocab_size, rows) as (context, logits):
        for number in range(rounds + 2):
            logits[:] = rng.standard_normal(logits.shape, np.float32) * 3
            began = perf_counter()
            ours = sampler.sample(logits, work)
            between = perf_counter()
            peer = [lib.llama_sampler_sample(chain, context, row) for row, chain in enumerate(chains)]
            ended = perf_counter()
            same += sum(ours[row] == (token,) for row, token in enumerate(peer))
            if number >= 2:  # the first rounds touch fresh buffers
                ours_s.append(between - began)
                peer_s.append(ended - between)
    for chain in chains:
        lib.llama_sampler_free(chain)
    sampler.close_all()
    if same < 0.99 * rows * (rounds + 2):
        raise SystemExit(f"Only {same} of {rows * (rounds + 2)} tokens agree.")
    return {
        "vocabulary": vocab_size,
        "rows": rows,
        "ours_ms": round(median(ours_s) * 1e3, 3),
        "llama_sampler_sample_ms": round(median(peer_s) * 1e3, 3),
        "ratio": round(median(a / b for a, b in zip(ours_s, peer_s, strict=True)), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vocabularies", default="49152,151936,262144")
    parser.add_argument("--rows", default="1,8,32,64")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    rows = []
    if not args.json:
        print(f"{'vocabulary':>10} {'rows':>5} {'ours':>9} {'llama.cpp':>9} {'ratio':>6}   ms")
    for vocab_size in map(int, args.vocabularies.split(",")):
        for count in map(int, args.rows.split(",")):
            row = measure(vocab_size, count, args.rounds, args.threads)
            rows.append(row)
            if not args.json:
                print("{:10} {:5} {:9} {:9} {:6}".format(*row.values()), flush=True)
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
