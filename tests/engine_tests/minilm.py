"""all-MiniLM-L6-v2 as GGUF files: an embedding model, and a rerank model with a random head."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

__all__ = ["Head", "write"]

_WIDTH = 384
_NAMES = (  # of a layer's tensors, there and here
    (r"embeddings\.word_embeddings", "token_embd"),
    (r"embeddings\.position_embeddings", "position_embd"),
    (r"embeddings\.token_type_embeddings", "token_types"),
    (r"embeddings\.LayerNorm", "token_embd_norm"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm", r"blk.\1.attn_output_norm"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense", r"blk.\1.attn_output"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.query", r"blk.\1.attn_q"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.key", r"blk.\1.attn_k"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.value", r"blk.\1.attn_v"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense", r"blk.\1.ffn_up"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm", r"blk.\1.layer_output_norm"),
    (r"encoder\.layer\.(\d+)\.output\.dense", r"blk.\1.ffn_down"),
)

Array = npt.NDArray[np.float32]


class Head:
    """A random classifier over a text's first token, as a trained reranker has one."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.tensors: dict[str, Array] = {
            "cls.weight": random.normal(0, 0.1, (_WIDTH, _WIDTH)).astype(np.float32),
            "cls.bias": random.normal(0, 0.1, _WIDTH).astype(np.float32),
            "cls.output.weight": random.normal(0, 0.1, (1, _WIDTH)).astype(np.float32),
            "cls.output.bias": np.array([0.5], np.float32),
        }

    def score(self, first: Array) -> float:
        """The score for the vector of the first token."""
        of = self.tensors
        inner = np.tanh(of["cls.weight"] @ first + of["cls.bias"])
        return float((of["cls.output.weight"] @ inner + of["cls.output.bias"])[0])


def write(
    path: Path, folder: Path, *, head: Head | None = None, pooling: bool = True, template: str = ""
) -> None:
    """Convert the model in a folder of sentence-transformers.

    Args:
        head: makes a rerank model.
        pooling: say in the header how it pools.
        template: how a rerank model wants query and document.
    """
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("MiniLM reranker" if head else "MiniLM")
    _describe(writer, json.loads((folder / "config.json").read_text()))
    if pooling:
        writer.add_pooling_type(gguf.PoolingType.RANK if head else gguf.PoolingType.MEAN)
    if template:
        writer.add_string("tokenizer.chat_template.rerank", template)
    _add_tokenizer(writer, folder)
    for name, tensor in [*_tensors(folder), *(head.tensors.items() if head else ())]:
        plain = tensor.ndim == 1 or name.startswith(("position", "token_types", "cls"))
        writer.add_tensor(name, tensor if plain else tensor.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, config: dict[str, int]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    """The vocabulary as llama.cpp wants it: a sign at the start of words instead of one inside them."""
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    control = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens = [
        word if word in control else word[2:] if word.startswith("##") else f"\u2581{word}" for word in words
    ]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if word in control else gguf.TokenType.NORMAL for word in words]
    )
    for name, token in (("unknown", 100), ("bos", 101), ("seperator", 102), ("padding", 0), ("mask", 103)):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)


def _tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    for name, tensor in load_file(folder / "model.safetensors").items():
        for theirs, ours in _NAMES:
            if match := re.fullmatch(rf"{theirs}\.(weight|bias)", name):
                yield f"{match.expand(ours)}.{name.rpartition('.')[2]}", tensor
