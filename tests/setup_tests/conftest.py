from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """PATH is one folder of the test's own; the fixture puts shell scripts into it."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CMAKE_ARGS", "GPU"):
        monkeypatch.delenv(name, raising=False)
    # A toolkit that this machine may have outside PATH must not decide a test.
    monkeypatch.setattr("bootstrap.gpu.CUDA_HOMES", ())

    def put(name: str, script: str = "exit 0") -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return put


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of compiled wheels, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "STEVEMIN_HOME" in os.environ  # the autouse fixture ran first and removed XDG_*
    return tmp_path / "cache" / "stevemin" / "wheels"
