"""Make a GGUF with random weights, to measure and to test shapes that nobody has to download.

Speed depends on shapes and number formats, not on the weights' values. Tokenizer and chat template are the
starter model's, padded to a vocabulary of the wanted size.

    python bench/engine/make_model.py --size 1b --type q4_0 model.gguf
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.cli import BenchError, find_model
from engine.llama.header import read_header

try:
    import gguf
except ImportError:
    raise SystemExit("Package gguf is not installed: `make check` installs it.") from None

_SPREAD = 0.02  # standard deviation of the weights
_BLOCK = 32  # weights that share a scale, in q4_0 and q8_0
_ROWS = 4096  # of random numbers generated at a time
_WINDOW = 4  # tokens that a convolution of a recurrent layer sees
_STATE = 16  # numbers of a Mamba's state for each inner dimension

Bytes = npt.NDArray[np.uint8]


Tensor = tuple[str, tuple[int, ...]]  # name; sizes: of a vector, or (experts,) rows and columns


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama: embedding, feed-forward, layers, attention heads and key-value heads.

    Args:
        kv_heads: of every layer, or of each.
    """

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int | tuple[int, ...]
    vocabulary: int = 128_256  # as Llama 3's
    architecture: ClassVar[str] = "llama"

    def heads_of(self, layer: int) -> int:
        """Key-value heads of a layer."""
        return self.kv_heads if isinstance(self.kv_heads, int) else self.kv_heads[layer]

    def describe(self, writer: gguf.GGUFWriter) -> None:
        """Write the sizes into the header."""
        writer.add_context_length(131_072)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.inner)
        writer.add_block_count(self.layers)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads if isinstance(self.kv_heads, int) else list(self.kv_heads))
        if self.heads:
            writer.add_rope_dimension_count(self.width // self.heads)
        writer.add_rope_freq_base(500_000.0)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(self.vocabulary)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor."""
        yield "token_embd.weight", (self.vocabulary, self.width)
        yield "output_norm.weight", (self.width,)
        yield "output.weight", (self.vocabulary, self.width)
        for layer in range(self.layers):
            yield from ((f"blk.{layer}.{name}", sizes) for name, sizes in self._block(layer))

    def _block(self, layer: int) -> Iterator[Tensor]:
        kv = self.heads_of(layer) * self.width // self.heads
        yield "attn_norm.weight", (self.width,)
        yield "attn_q.weight", (self.width, self.width)
        yield "attn_k.weight", (kv, self.width)
        yield "attn_v.weight", (kv, self.width)
        yield "attn_output.weight", (self.width, self.width)
        yield from self._feed_forward()

    def _feed_forward(self) -> Iterator[Tensor]:
        yield "ffn_norm.weight", (self.width,)
        yield "ffn_gate.weight", (self.inner, self.width)
        yield "ffn_up.weight", (self.inner, self.width)
        yield "ffn_down.weight", (self.width, self.inner)


@dataclass(frozen=True)
class Recurrent(Shape):
    """Sizes of a Mamba: one state for each sequence instead of a cell for each token."""

    architecture: ClassVar[str] = "mamba"

    def describe(self, writer: gguf.GGUFWriter) -> None:
        """Write the sizes into the header."""
        super().describe(writer)
        writer.add_ssm_conv_kernel(_WINDOW)
        writer.add_ssm_inner_size(2 * self.width)
        writer.add_ssm_state_size(_STATE)
        writer.add_ssm_time_step_rank(self.width // 16)

    def _block(self, layer: int) -> Iterator[Tensor]:
        inner, rank = 2 * self.width, self.width // 16
        yield "attn_norm.weight", (self.width,)
        yield "ssm_in.weight", (2 * inner, self.width)
        yield "ssm_conv1d.weight", (inner, _WINDOW)
        yield "ssm_conv1d.bias", (inner,)
        yield "ssm_x.weight", (rank + 2 * _STATE, inner)
        yield "ssm_dt.weight", (inner, rank)
        yield "ssm_dt.bias", (inner,)
        yield "ssm_a", (inner, _STATE)
        yield "ssm_d", (inner,)
        yield "ssm_out.weight", (self.width, inner)


@dataclass(frozen=True)
class Hybrid(Shape):
    """Sizes of an LFM2: layers without key-value heads are short convolutions with a state."""

    architecture: ClassVar[str] = "lfm2"

    def describe(self, writer: gguf.GGUFWriter) -> None:
        """Write the sizes into the header."""
        super().describe(writer)
        writer.add_shortconv_l_cache(_WINDOW)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor."""
        for name, sizes in super().tensors():
            yield name.replace("output_norm", "token_embd_norm"), sizes

    def _block(self, layer: int) -> Iterator[Tensor]:
        if self.heads_of(layer):
            yield "attn_q_norm.weight", (self.width // self.heads,)
            yield "attn_k_norm.weight", (self.width // self.heads,)
            yield from super()._block(layer)
            return
        yield "attn_norm.weight", (self.width,)
        yield "shortconv.conv.weight", (self.width, _WINDOW)
        yield "shortconv.in_proj.weight", (3 * self.width, self.width)
        yield "shortconv.out_proj.weight", (self.width, self.width)
        yield from self._feed_forward()


@dataclass(frozen=True)
class Mixture(Shape):
    """Sizes of a Llama whose feed-forward layers are mixtures of experts, of which two serve each token."""

    experts: int = 4

    def describe(self, writer: gguf.GGUFWriter) -> None:
        """Write the sizes into the header."""
        super().describe(writer)
        writer.add_expert_count(self.experts)
        writer.add_expert_used_count(2)

    def _feed_forward(self) -> Iterator[Tensor]:
        yield "ffn_norm.weight", (self.width,)
        yield "ffn_gate_inp.weight", (self.experts, self.width)
        yield "ffn_gate_exps.weight", (self.experts, self.inner, self.width)
        yield "ffn_up_exps.weight", (self.experts, self.inner, self.width)
        yield "ffn_down_exps.weight", (self.experts, self.width, self.inner)


SHAPES = {
    "tiny": Shape(256, 512, 2, 4, 2),  # to try this script
    "recurrent": Recurrent(256, 0, 2, 0, 0, vocabulary=49_152),
    "hybrid": Hybrid(256, 512, 3, 4, (0, 2, 0), vocabulary=49_152),
    "mixture": Mixture(256, 512, 2, 4, 2, vocabulary=49_152),
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
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(name)
    shape.describe(writer)
    _copy_tokenizer(writer, find_model("starter"), shape.vocabulary)
    for tensor, sizes in shape.tensors():
        if _is_plain(tensor, sizes):
            writer.add_tensor_info(tensor, sizes, np.dtype(np.float32), 4 * math.prod(sizes))
        else:
            *outer, columns = sizes
            probe = random_rows(1, columns, kind, np.random.default_rng(0))
            size = math.prod(outer) * probe.nbytes
            writer.add_tensor_info(tensor, (*outer, probe.shape[1]), probe.dtype, size, TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(1)
    for tensor, sizes in shape.tensors():
        if _is_plain(tensor, sizes):
            writer.write_tensor_data(plain(tensor, sizes, random))
        else:
            *outer, columns = sizes
            writer.write_tensor_data(matrix(math.prod(outer), columns, kind, random))
    writer.close()


def plain(tensor: str, sizes: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """A tensor that stays in 32 bits: norms are 1, the decay of a Mamba's state is -1, the rest is random."""
    if "norm" in tensor or "ssm_a" in tensor:
        return np.full(sizes, -1 if "ssm_a" in tensor else 1, np.float32)
    return random.standard_normal(sizes, dtype=np.float32)


def _is_plain(tensor: str, sizes: tuple[int, ...]) -> bool:
    return len(sizes) == 1 or sizes[-1] % _BLOCK > 0 or "conv" in tensor


def _copy_tokenizer(writer: gguf.GGUFWriter, source: Path, vocabulary: int) -> None:
    """Copy the tokenizer of another file, padded with unused tokens to a vocabulary of this size."""
    for name, value in read_header(source, longest=1 << 20).items():
        if not name.startswith("tokenizer."):
            continue
        if name == "tokenizer.ggml.tokens":
            value += [f"<unused {number}>" for number in range(len(value), vocabulary)]
        elif name == "tokenizer.ggml.token_type":
            value += [int(gguf.TokenType.UNUSED)] * (vocabulary - len(value))
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_string(name, value)


def main() -> None:
    """Write the model that the command line describes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="1b")
    parser.add_argument("--type", choices=TYPES, default="q4_0")
    args = parser.parse_args()
    try:
        write(args.path, SHAPES[args.size], args.type, f"random {args.size}")
    except BenchError as error:
        raise SystemExit(str(error)) from error
    print(f"{args.path}: {args.path.stat().st_size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
