from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import machine, wheel
from bootstrap.console import SetupError
from bootstrap.wheel import WheelRequest

PutTool = Callable[..., Path]
ROOT = Path(__file__).parents[2]
LOCKED = ROOT / "requirements" / "llama.txt"

REQUEST = WheelRequest(
    version="0.3.36", backend="none", python_tag="cp311", cpu="x86 avx2", cards="", extra_flags=""
)

# Stands for `python -m pip wheel`: notes what it was asked and leaves a wheel where it was told to.
PIP = """
echo "$CMAKE_ARGS | $*" >> "{calls}"
while [ "$1" != --wheel-dir ]; do shift; done
echo '[1/2] compiling'
: > "$2/llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
"""


@pytest.fixture
def pip(tools: PutTool, tmp_path: Path) -> Path:
    return tools("python", "PATH=/usr/bin:/bin\n" + PIP.format(calls=tmp_path / "calls"))


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


class TestKey:
    def test_tells_what_it_is(self) -> None:
        assert REQUEST.key.startswith("0.3.36-none-cp311-")
        assert os.sep not in REQUEST.key

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(WheelRequest)])
    def test_everything_counts(self, field: str) -> None:
        assert dataclasses.replace(REQUEST, **{field: "other"}).key != REQUEST.key

    def test_of_this_machine(self, tools: PutTool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CMAKE_ARGS", " -DGGML_CUDA_F16=on ")
        request = WheelRequest.of_this_machine(LOCKED, "none")
        assert request.version == "0.3.36"
        assert request.python_tag == f"cp{sys.version_info.major}{sys.version_info.minor}"
        assert request.cpu == machine.cpu_signature()
        assert request.extra_flags == "-DGGML_CUDA_F16=on"


def test_an_unpinned_version(tmp_path: Path) -> None:
    (tmp_path / "llama.txt").write_text("numpy==2.0\n")
    with pytest.raises(SetupError, match="does not pin llama-cpp-python"):
        wheel.locked_version(tmp_path / "llama.txt")


def test_compiled_once(pip: Path, cache: Path, tmp_path: Path) -> None:
    first = wheel.provide(REQUEST, pip, LOCKED, tmp_path)
    assert first.parent == cache / REQUEST.key
    assert first.is_file()
    assert wheel.provide(REQUEST, pip, LOCKED, tmp_path) == first
    assert len(calls(tmp_path)) == 1


def test_the_backend_and_ones_own_flags_reach_cmake(pip: Path, cache: Path, tmp_path: Path) -> None:
    request = dataclasses.replace(REQUEST, backend="vulkan", extra_flags="-DGGML_LTO=on")
    wheel.provide(request, pip, LOCKED, tmp_path)
    (call,) = calls(tmp_path)
    flags, _, arguments = call.partition(" | ")
    assert flags == "-DGGML_VULKAN=on -DGGML_LTO=on"
    assert arguments.startswith(
        "-m pip wheel --verbose --no-deps --no-cache-dir --no-build-isolation --no-binary llama-cpp-python "
    )
    assert arguments.endswith(f" --require-hashes --requirement {LOCKED}")
    assert "index" not in arguments


def test_another_backend_is_another_wheel(pip: Path, cache: Path, tmp_path: Path) -> None:
    cpu = wheel.provide(REQUEST, pip, LOCKED, tmp_path)
    cuda = wheel.provide(dataclasses.replace(REQUEST, backend="cuda"), pip, LOCKED, tmp_path)
    assert cpu != cuda
    assert len(calls(tmp_path)) == 2


def test_a_failed_build_leaves_nothing_and_tells_why(
    tools: PutTool, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tools("python", "echo '[1/2] ok'\necho 'ggml.c:1:2: error: no such thing'\nexit 1")
    with pytest.raises(SetupError, match=r"Compiling llama\.cpp failed\. Full log: .*llama-cpp-python\.log"):
        wheel.provide(REQUEST, broken, LOCKED, tmp_path)
    assert "ggml.c:1:2: error: no such thing" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_a_build_without_a_wheel(tools: PutTool, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="built no wheel"):
        wheel.provide(REQUEST, tools("python"), LOCKED, tmp_path)


def test_another_set_up_was_faster(pip: Path, cache: Path, tmp_path: Path) -> None:
    (cache / REQUEST.key).mkdir(parents=True)
    (cache / REQUEST.key / "half-written").touch()
    assert wheel.provide(REQUEST, pip, LOCKED, tmp_path).is_file()
    assert [path.name for path in cache.iterdir()] == [REQUEST.key]


def test_no_compiler_is_needed_for_a_kept_wheel(tools: PutTool, cache: Path) -> None:
    with pytest.raises(SetupError, match="build-essential"):
        wheel.require_buildable(REQUEST)
    (cache / REQUEST.key).mkdir(parents=True)
    (cache / REQUEST.key / "a.whl").touch()
    wheel.require_buildable(REQUEST)
