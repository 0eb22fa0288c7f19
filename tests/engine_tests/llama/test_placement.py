"""Where the weights go. On a machine without a GPU all memory is the CPU's, and llama.cpp's log tells which
tensors were asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, EngineConfig
from engine.llama.backend import LlamaBackend
from engine.llama.lib import lib
from engine.llama.placement import Placement, buffer_types


@pytest.fixture
def overridden(
    random_model: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> Callable[..., set[str]]:
    """Loads a model with some settings; gives the names of the tensors that the settings moved."""

    def load(shape: str = "tiny", **settings: Any) -> set[str]:
        caplog.set_level(logging.DEBUG, "engine.llama.lib")
        LlamaBackend(EngineConfig(model_path=random_model(shape), context_tokens=512, **settings)).close()
        found = (
            re.search(r"tensor (\S+) .*overridden to CPU", record.getMessage()) for record in caplog.records
        )
        return {match[1] for match in found if match is not None}

    return load


def test_tensors_by_pattern(overridden: Callable[..., set[str]]) -> None:
    moved = overridden(tensor_overrides=(r"blk\.1\.ffn_(up|down)=CPU", "attn_q=cpu"))
    assert moved == {
        "blk.1.ffn_up.weight",
        "blk.1.ffn_down.weight",
        "blk.0.attn_q.weight",
        "blk.1.attn_q.weight",
    }


def test_experts_of_the_first_layers(overridden: Callable[..., set[str]]) -> None:
    experts = {f"ffn_{part}_exps.weight" for part in ("up", "down", "gate")}
    assert overridden("mixture", cpu_experts=1) == {f"blk.0.{name}" for name in experts}


def test_all_experts(overridden: Callable[..., set[str]]) -> None:
    moved = overridden("mixture", cpu_experts=-1)
    assert {name.split(".")[1] for name in moved} == {"0", "1"}
    assert all("exps" in name for name in moved)


def test_nothing_is_moved_unasked(overridden: Callable[..., set[str]]) -> None:
    assert overridden() == set()


def test_a_buffer_that_is_not_there(random_model: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"there is no buffer 'CUDA7' here; there are .*CPU"):
        LlamaBackend(EngineConfig(model_path=random_model("tiny"), tensor_overrides=("ffn=CUDA7",)))


def test_a_pattern_that_llama_cpp_does_not_know(random_model: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded with these settings"):
        LlamaBackend(EngineConfig(model_path=random_model("tiny"), tensor_overrides=("(?<=a)ffn=CPU",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tensor_overrides": ("ffn",)}, "written PATTERN=BUFFER, not 'ffn'"),
        ({"tensor_overrides": ("(=CPU",)}, r"'\(' is no pattern"),
        ({"tensor_split": (1.0, -1.0)}, "tensor_split must be numbers from 0 on"),
        ({"split_mode": "rows"}, "split_mode must be one of none, layer, row, tensor"),
        ({"load_mode": "fast"}, "load_mode must be one of auto, none, mmap"),
        ({"main_gpu": -1}, "main_gpu must be between 0 and 63"),
        ({"cpu_experts": -2}, "cpu_experts must be between -1 and 1000"),
    ],
)
def test_values_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineConfig(model_path=Path("m.gguf"), **settings)


def test_more_shares_than_devices() -> None:
    with pytest.raises(ConfigError, match=r"tensor_split has 100 shares, and llama\.cpp at most"):
        Placement(EngineConfig(model_path=Path("m.gguf"), tensor_split=(1.0,) * 100))


def test_every_setting_reaches_llama_cpp() -> None:
    from engine.llama.lib import lib

    params = lib.llama_model_default_params()
    placement = Placement(
        EngineConfig(
            model_path=Path("m.gguf"),
            gpu_layers=7,
            split_mode="row",
            main_gpu=1,
            tensor_split=(3.0, 1.0),
            load_mode="mmap+mlock",
            tensor_overrides=("ffn=CPU",),
        )
    )
    placement.apply(params)
    assert (params.n_gpu_layers, params.split_mode, params.main_gpu, params.load_mode) == (7, 2, 1, 3)
    assert [params.tensor_split[place] for place in range(3)] == [3.0, 1.0, 0.0]
    assert "CPU" in buffer_types()


@pytest.mark.parametrize("mode", ["none", "mmap", "mlock", "mmap+mlock", "direct_io"])
def test_every_way_to_read_the_file(random_model: Callable[[str], Path], mode: Any) -> None:
    backend = LlamaBackend(EngineConfig(model_path=random_model("tiny"), context_tokens=512, load_mode=mode))
    backend.close()


def test_weights_that_cannot_be_locked(
    random_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engine.llama.loading.recent_log", ["warning: failed to mlock 4096-byte buffer (...): no memory"]
    )
    from engine.llama.loading import lock_warning

    warning = lock_warning()
    assert warning is not None
    assert "ulimit -l" in warning


def test_a_split_that_needs_devices_is_a_wrong_setting(random_model: Callable[[str], Path]) -> None:
    if lib.llama_supports_gpu_offload():
        pytest.skip("there are devices")
    with pytest.raises(ConfigError, match="SPLIT_MODE_TENSOR needs"):
        LlamaBackend(EngineConfig(model_path=random_model("tiny"), split_mode="tensor"))
