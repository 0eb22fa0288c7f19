"""Files that are no models, loads that are stopped, models that cannot fit."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine import (
    Engine,
    EngineClosed,
    EngineConfig,
    LoadCancelled,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    ModelTooLarge,
)
from engine.llama import loading
from engine.llama.backend import LlamaBackend
from engine.llama.lib import lib, recent_log, supports_gpu_offload, system_info
from engine.llama.loading import check_memory


def load(path: Path, **settings: object) -> None:
    LlamaBackend(EngineConfig(model_path=path, **settings)).close()  # type: ignore[arg-type]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"No file .*nothing\.gguf"):
        load(tmp_path / "nothing.gguf")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GG", b"<!DOCTYPE html><title>404</title>"])
def test_something_that_is_no_gguf(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "page.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelCorrupt, match="not a GGUF file"):
        load(file)


@pytest.mark.parametrize("size", [10_000, 50_000_000])
def test_a_truncated_model(tmp_path: Path, starter_model: Path, size: int) -> None:
    file = tmp_path / "half.gguf"
    with starter_model.open("rb") as whole:
        file.write_bytes(whole.read(size))
    with pytest.raises(
        ModelCorrupt, match=r"half\.gguf cannot be loaded: .+\. .*download it again\.$"
    ) as caught:
        load(file)
    assert "gave no reason" not in str(caught.value)


def test_a_corrupt_header(tmp_path: Path, starter_model: Path) -> None:
    file = tmp_path / "bad.gguf"
    noise = random.Random(1)
    for _ in range(5):
        with starter_model.open("rb") as whole:
            data = bytearray(whole.read(4_000))
        for _ in range(40):
            data[noise.randrange(8, len(data))] = noise.randrange(256)
        file.write_bytes(data)
        with pytest.raises(ModelCorrupt, match=r"cannot be loaded: .+\.$"):
            load(file)


def test_a_context_that_cannot_fit_the_machine(starter_model: Path) -> None:
    if supports_gpu_offload():
        pytest.skip("with a GPU llama.cpp itself decides")
    with pytest.raises(ModelTooLarge, match="GiB for the context"):
        load(starter_model, context_tokens=2_000_000_000)


_LOAD_WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from engine import EngineConfig
from engine.errors import ModelError
from engine.llama.backend import LlamaBackend
from engine.llama.lib import init_backend
init_backend()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20),) * 2)
try:
    LlamaBackend(EngineConfig(model_path=Path(sys.argv[1]), context_tokens=512, gpu_layers=0))
except ModelError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux only")
def test_a_model_for_which_memory_cannot_be_allocated_is_not_called_damaged(starter_model: Path) -> None:
    command = [sys.executable, "-c", _LOAD_WITH_LITTLE_MEMORY, str(starter_model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("ModelTooLarge "), done.stdout
    assert "does not fit into memory: " in done.stdout
    assert "damaged" not in done.stdout


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("unable to allocate CUDA0 buffer", ModelTooLarge, "Fewer gpu_layers"),
        ("cudaMalloc failed: out of memory", ModelTooLarge, "Fewer gpu_layers"),
        ("unable to allocate CPU buffer", ModelTooLarge, "quantisation.$"),
        ("tensor 'output.weight' data is not within the file bounds", ModelCorrupt, "download it again"),
        ("unknown model architecture: 'new'", ModelCorrupt, "architecture: 'new'.$"),
    ],
)
def test_what_llama_cpp_says_of_a_failed_load(
    starter_model: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[ModelError], told: str
) -> None:
    def fail(*_: object) -> None:
        recent_log.append(f"llama_model_load: error loading model: {said}")
        recent_log.append("llama_model_load_from_file_impl: failed to load model")

    monkeypatch.setattr(lib, "llama_model_load_from_file", fail)
    with pytest.raises(kind, match=told):
        load(starter_model)


@pytest.mark.parametrize(("shape", "cell"), [("tiny", 1024), ("hybrid", 512), ("recurrent", 0)])
def test_a_cell_holds_the_heads_of_every_layer(
    random_model: Callable[[str], Path], shape: str, cell: int
) -> None:
    config = EngineConfig(model_path=random_model(shape), context_tokens=4096)
    assert loading.cell_bytes(config) == cell, "by the header"
    backend = LlamaBackend(config)
    assert backend.info.kv_bytes_per_token == cell
    assert abs(loading.allocated_cell_bytes(1) - (cell or 1)) <= 1, "as llama.cpp allocates it"
    backend.close()


@pytest.mark.parametrize(
    ("weights", "kv_cache", "fits"), [(6, 2, True), (6, 4, False), (9, 2, False), (0, 3, True)]
)
def test_weights_need_the_machine_and_the_cache_what_is_free(
    monkeypatch: pytest.MonkeyPatch, weights: int, kv_cache: int, fits: bool
) -> None:
    memory = SimpleNamespace(total=10 << 30, available=3 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    if fits:
        check_memory("m.gguf", weights=weights << 30, kv_cache=kv_cache << 30)
    else:
        with pytest.raises(ModelTooLarge, match=rf"{weights}\.0 GiB .* 3\.0 are free"):
            check_memory("m.gguf", weights=weights << 30, kv_cache=kv_cache << 30)


def test_a_load_is_stopped_from_its_progress(starter_model: Path) -> None:
    seen: list[float] = []

    def stop_half_way(fraction: float) -> bool:
        seen.append(fraction)
        return fraction < 0.5

    with pytest.raises(LoadCancelled, match="was stopped"):
        LlamaBackend(EngineConfig(model_path=starter_model), stop_half_way)
    assert seen[-1] >= 0.5
    assert len(seen) > 3


async def test_progress_reaches_the_event_loop(starter_model: Path) -> None:
    seen: list[float] = []
    engine = Engine(EngineConfig(model_path=starter_model, context_tokens=512))
    await engine.start(seen.append)
    await asyncio.sleep(0)
    await engine.close()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_the_build_describes_itself() -> None:
    assert "CPU" in system_info()


def test_tokenising_after_close_is_an_error_and_no_crash(starter_model: Path) -> None:
    backend = LlamaBackend(EngineConfig(model_path=starter_model, context_tokens=512))
    assert backend.tokenize("hello")
    backend.close()
    with pytest.raises(EngineClosed, match="unloaded"):
        backend.tokenize("hello")
    with pytest.raises(EngineClosed, match="unloaded"):
        backend.piece(4321)


def test_llama_cpp_says_nothing_to_the_terminal(starter_model: Path) -> None:
    code = (
        "from engine import EngineConfig; from engine.llama import LlamaBackend;"
        f"LlamaBackend(EngineConfig(model_path={str(starter_model)!r}, context_tokens=512)).close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
