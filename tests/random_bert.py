"""Small BERTs with random weights in folders, as sentence-transformers and transformers save them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_cross_encoder", "write_sentence_bert"]

_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?:;-'"
_WIDTH = 32


def write_sentence_bert(
    folder: Path, *, prompts: Mapping[str, str] | None = None, width: int = _WIDTH
) -> None:
    """An embedding model that averages its tokens.

    Args:
        prompts: as its settings name them.
    """
    from transformers import BertModel

    _write(folder, BertModel, width)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
    if prompts is not None:
        settings = json.dumps({"prompts": dict(prompts), "default_prompt_name": None})
        (folder / "config_sentence_transformers.json").write_text(settings)


def write_cross_encoder(folder: Path) -> None:
    """A model that scores pairs of texts."""
    from transformers import BertForSequenceClassification

    _write(folder, BertForSequenceClassification, _WIDTH)


def _write(folder: Path, kind: type, width: int) -> None:
    import torch
    from transformers import BertConfig, BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    words = [*_MARKS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    config.num_labels = 1
    kind(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
