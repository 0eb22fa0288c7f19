"""Make a Llama-shaped GGUF with random weights, to measure at sizes that nobody has to download.

Speed depends on shapes and number formats, not on the weights' values. Tokenizer and chat template are the
starter model's, padded to the vocabulary of Llama 3.

    python bench/engine/make_model.py --size 1b --type q4_0 model.gguf
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.cli import BenchError, find_model

try:
    import gguf
except ImportError:
    raise SystemExit("Package gguf is not installed: `make check` installs it.") from None

_VOCABULARY = 128_256
_SPREAD = 0.02  # standard deviation of the weights
_BLOCK = 32  # weights that share a scale, in q4_0 and q8_0
_ROWS = 4096  # of random numbers generated at a time

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama: embedding, feed-forward, layers, attention heads and key-value heads."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int

    def tensors(self) -> Iterator[tuple[str, int, int]]:
        """Name, rows and columns of each tensor; vectors have 0 rows."""
        kv = self.kv_heads * self.width // self.heads
        yield "token_embd.weight", _VOCABULARY, self.width
        yield "output_norm.weight", 0, self.width
        yield "output.weight", _VOCABULARY, self.width
        for layer in range(self.layers):
            yield f"blk.{layer}.attn_norm.weight", 0, self.width
            yield f"blk.{layer}.attn_q.weight", self.width, self.width
            yield f"blk.{layer}.attn_k.weight", kv, self.width
            yield f"blk.{layer}.attn_v.weight", kv, self.width
            yield f"blk.{layer}.attn_output.weight", self.width, self.width
            yield f"blk.{layer}.ffn_norm.weight", 0, self.width
            yield f"blk.{layer}.ffn_gate.weight", self.inner, self.width
            yield f"blk.{layer}.ffn_up.weight", self.inner, self.width
            yield f"blk.{layer}.ffn_down.weight", self.width, self.inner


SHAPES = {
    "tiny": Shape(256, 512, 2, 4, 2),  # to try this script
    "1b": Shape(2048, 8192, 16, 32, 8),  # as Llama 3.2 1B
    "3b": Shape(3072, 8192, 28, 24, 8),  # as Llama 3.2 3B
    "8b": Shape(4096, 14336, 32, 32, 8),  # as Llama 3.1 8B
}
TYPES = {
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "f16": gguf.GGMLQuantizationType.F16,
}


def random_rows(rows: int, columns: int, kind: str, random: np.random.Generator) -> Bytes:
    """A random matrix in a GGUF number format, as the bytes of its rows."""
    if kind == "f16":
        numbers = random.standard_normal((rows, columns), dtype=np.float32) * _SPREAD
        return numbers.astype(np.float16).view(np.uint8)
    levels = {"q4_0": 16, "q8_0": 256}[kind]
    scale = np.float16(_SPREAD / (levels / 12**0.5))  # of a uniform distribution
    payload = _BLOCK // 2 if kind == "q4_0" else _BLOCK
    blocks = np.empty((rows, columns // _BLOCK, 2 + payload), np.uint8)
    blocks[:, :, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[:, :, 2:] = random.integers(0, 256, (rows, columns // _BLOCK, payload), np.uint8)
    return blocks.reshape(rows, -1)


def matrix(rows: int, columns: int, kind: str, random: np.random.Generator) -> Bytes:
    """As `random_rows`, repeating the rows of a large matrix: generating 8 GB takes minutes."""
    part = random_rows(min(rows, _ROWS), columns, kind, random)
    return np.resize(part, (rows, part.shape[1])) if rows > len(part) else part


def write(path: Path, shape: Shape, kind: str, name: str) -> None:
    """Write a model file with random weights."""
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape, name)
    _copy_tokenizer(writer, find_model("starter"))
    for tensor, rows, columns in shape.tensors():
        if rows:
            probe = random_rows(1, columns, kind, np.random.default_rng(0))
            writer.add_tensor_info(
                tensor, (rows, probe.shape[1]), probe.dtype, rows * probe.nbytes, TYPES[kind]
            )
        else:
            writer.add_tensor_info(tensor, (columns,), np.dtype(np.float32), 4 * columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(1)
    for _, rows, columns in shape.tensors():
        writer.write_tensor_data(
            matrix(rows, columns, kind, random) if rows else np.ones(columns, np.float32)
        )
    writer.close()


def _describe(writer: gguf.GGUFWriter, shape: Shape, name: str) -> None:
    writer.add_name(name)
    writer.add_context_length(131_072)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_VOCABULARY)


def _copy_tokenizer(writer: gguf.GGUFWriter, source: Path) -> None:
    """Copy the tokenizer of another file, padded with unused tokens to our vocabulary."""
    for name, field in gguf.GGUFReader(source).fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        kind, inner = field.types[0], field.types[-1]
        if name == "tokenizer.ggml.tokens":
            value += [f"<unused {number}>" for number in range(len(value), _VOCABULARY)]
        elif name == "tokenizer.ggml.token_type":
            value += [int(gguf.TokenType.UNUSED)] * (_VOCABULARY - len(value))
        writer.add_key_value(name, value, kind, inner if kind is gguf.GGUFValueType.ARRAY else None)


def main() -> None:
    """Write the model that the command line describes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="1b")
    parser.add_argument("--type", choices=TYPES, default="q4_0")
    args = parser.parse_args()
    try:
        write(args.path, SHAPES[args.size], args.type, f"random Llama {args.size}")
    except BenchError as error:
        raise SystemExit(str(error)) from error
    print(f"{args.path}: {args.path.stat().st_size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
