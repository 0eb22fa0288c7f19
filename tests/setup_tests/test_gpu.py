from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import gpu
from bootstrap.console import SetupError
from bootstrap.gpu import GpuChoice, choose

PutTool = Callable[..., Path]

LISTS_A_CARD = "echo 'GPU 0: NVIDIA RTX (UUID: GPU-1)'"


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def test_a_bare_machine_builds_for_the_cpu(tools: PutTool) -> None:
    assert choose("", None).backend == "none"


def test_nvcc_with_a_working_driver_builds_for_cuda(tools: PutTool) -> None:
    tools("nvcc")
    tools("nvidia-smi", LISTS_A_CARD)
    choice = choose("", None)
    assert (choice.backend, choice.by_hand, choice.note) == ("cuda", False, "")


@pytest.mark.parametrize("driver", ["exit 9", "exit 0", "echo nothing >&2; exit 6"])
def test_a_driver_that_does_not_work_builds_for_the_cpu(tools: PutTool, driver: str) -> None:
    tools("nvcc")
    tools("nvidia-smi", driver)
    assert choose("", None).backend == "none"


def test_a_card_without_nvcc_is_pointed_out(tools: PutTool) -> None:
    tools("nvidia-smi", LISTS_A_CARD)
    choice = choose("", None)
    assert choice.backend == "none"
    assert "no nvcc" in choice.note


def test_nvcc_outside_path(tools: PutTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.find_nvcc() is None
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    tools("nvcc").rename(nvcc)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert gpu.find_nvcc() == str(nvcc)
    assert gpu.compiler_environment("cuda") == {"CUDACXX": str(nvcc)}
    assert gpu.compiler_environment("none") == {}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("cuda", "GPU=cuda needs the CUDA compiler, nvcc"),
        ("vulkan", "GPU=vulkan needs glslc"),
        ("metal", "GPU=metal works on macOS only"),
        ("opencl", "Unknown GPU=opencl; use cuda, vulkan, metal, none or auto"),
    ],
)
def test_what_cannot_be_is_one_line(tools: PutTool, asked: str, words: str) -> None:
    with pytest.raises(SetupError, match=words) as caught:
        choose(asked, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("asked", "tool"), [("cuda", "nvcc"), ("Vulkan", "glslc"), (" none ", "true")])
def test_by_hand(tools: PutTool, asked: str, tool: str) -> None:
    tools(tool)
    assert choose(asked, None) == GpuChoice(asked.strip().lower(), by_hand=True)


def test_metal_is_the_default_on_apple_silicon(tools: PutTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert choose("", None).backend == "metal"
    assert gpu.cmake_flags("none") == ["-DGGML_METAL=off"]
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert choose("", None).backend == "none"


class TestRemembered:
    def test_a_choice_by_hand_stays(self, tools: PutTool) -> None:
        by_hand = GpuChoice("vulkan", by_hand=True)
        assert choose("", by_hand) is by_hand

    def test_auto_forgets_it(self, tools: PutTool) -> None:
        assert choose("auto", GpuChoice("vulkan", by_hand=True)).backend == "none"

    def test_the_driver_is_asked_once(self, tools: PutTool) -> None:
        tools("nvcc")
        driver = tools("nvidia-smi", LISTS_A_CARD)
        first = choose("", None)
        driver.write_text("#!/bin/sh\nexit 9\n")
        assert choose("", first) is first

    def test_new_tools_are_noticed(self, tools: PutTool) -> None:
        first = choose("", None)
        tools("nvcc")
        tools("nvidia-smi", LISTS_A_CARD)
        assert choose("", first).backend == "cuda"


def test_a_cuda_build_belongs_to_its_cards_and_its_compiler(tools: PutTool) -> None:
    tools("nvcc", "echo release 13.0")
    tools("nvidia-smi", "echo RTX 4090")
    first = gpu.identity("cuda")
    assert gpu.identity("cuda") == first
    tools("nvidia-smi", "echo H100")
    second = gpu.identity("cuda")
    tools("nvcc", "echo release 13.1")
    assert len({first, second, gpu.identity("cuda"), gpu.identity("none")}) == 4


@pytest.mark.parametrize("backend", gpu.BACKENDS)
def test_every_backend_has_flags(backend: str) -> None:
    assert gpu.cmake_flags(backend) == ([] if backend == "none" else [f"-DGGML_{backend.upper()}=on"])
