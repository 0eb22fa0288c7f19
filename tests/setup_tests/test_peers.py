from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import peers, wheel
from bootstrap.console import SetupError
from bootstrap.environment import Environment

PutTool = Callable[..., Path]
ROOT = Path(__file__).parents[2]

DOWNLOAD = """
PATH=/usr/bin:/bin
echo "pip $*" >> "{calls}"
while [ "$1" != --dest ]; do shift; done
cp "{sdist}" "$2/llama_cpp_python-0.3.36.tar.gz"
"""

CMAKE = """
PATH=/usr/bin:/bin
echo "cmake $*" >> "{calls}"
if [ "$1" = --version ]; then echo cmake version 3.25.1; fi
if [ "$1" = --build ]; then
    mkdir -p "$2/bin" && touch "$2/bin/llama-batched-bench" "$2/bin/llama-server"
fi
"""


@pytest.fixture
def environment(tools: PutTool, cache: Path, tmp_path: Path) -> Environment:
    """A checkout whose pip and cmake are scripts that note how they are called."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    sdist = tmp_path / "sdist.tar.gz"
    with tarfile.open(sdist, "w:gz") as tar:
        member = tarfile.TarInfo("llama_cpp_python-0.3.36/vendor/llama.cpp/CMakeLists.txt")
        tar.addfile(member, io.BytesIO())
    for name in ("cc", "c++", "make"):
        tools(name)
    tools("cmake", CMAKE.format(calls=tmp_path / "calls"))
    result = Environment(checkout)
    result.python.parent.mkdir(parents=True)
    tools("python", DOWNLOAD.format(calls=tmp_path / "calls", sdist=sdist)).rename(result.python)
    return result


def calls(tmp_path: Path) -> list[str]:
    return [line for line in (tmp_path / "calls").read_text().splitlines() if line != "cmake --version"]


def test_built_from_the_pinned_sources(environment: Environment, tmp_path: Path) -> None:
    peers.build(environment)
    for tool in peers.TOOLS:
        assert (environment.root / "bench" / ".peers" / "bin" / tool).is_file()
    download, configure, compile_ = calls(tmp_path)
    version = wheel.locked_version(environment.requirements("llama"))
    assert download.endswith(f" --require-hashes --requirement {environment.requirements('llama')}")
    assert f"source-{version}/vendor/llama.cpp -B" in configure
    assert "-DCMAKE_BUILD_TYPE=Release" in configure
    assert "-G Ninja" not in configure
    assert compile_.endswith("--target llama-batched-bench llama-server")


def test_built_once(environment: Environment, tmp_path: Path) -> None:
    peers.build(environment)
    before = calls(tmp_path)
    peers.build(environment)
    assert calls(tmp_path) == before


def test_a_removed_tool_is_built_again_from_the_same_sources(
    environment: Environment, tmp_path: Path
) -> None:
    peers.build(environment)
    before = len(calls(tmp_path))
    (environment.root / "bench" / ".peers" / "bin" / "llama-server").unlink()
    peers.build(environment)
    assert [call.split()[0] for call in calls(tmp_path)[before:]] == ["cmake", "cmake"]


def test_ninja_where_it_is(environment: Environment, tools: PutTool, tmp_path: Path) -> None:
    tools("ninja")
    peers.build(environment)
    assert "-G Ninja" in calls(tmp_path)[1]


def test_the_gpu_of_the_installed_wheel(environment: Environment, tools: PutTool, tmp_path: Path) -> None:
    (environment.venv / "stevemin-setup.json").write_text(
        '{"inputs": "", "python": "", "wheel": "", "extras": [], '
        '"gpu": {"backend": "vulkan", "by_hand": true, "probe": "", "note": ""}}'
    )
    peers.build(environment)
    assert "-DGGML_VULKAN=on" in calls(tmp_path)[1]


def test_a_failed_build_is_not_taken_for_a_finished_one(
    environment: Environment, tools: PutTool, tmp_path: Path
) -> None:
    tools(
        "cmake", "echo cmake version 3.25.1\n[ \"$1\" = --build ] && echo 'fatal error: x' && exit 1\nexit 0"
    )
    for _ in range(2):
        with pytest.raises(SetupError, match="Compiling the peers failed"):
            peers.build(environment)


def test_without_compilers(environment: Environment, tools: PutTool) -> None:
    for name in ("cc", "c++", "make", "cmake"):
        tools(name).unlink()
    with pytest.raises(SetupError, match="build-essential cmake"):
        peers.build(environment)
