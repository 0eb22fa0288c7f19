from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bootstrap import machine
from bootstrap.console import SetupError

PutTool = Callable[..., Path]
ROOT = Path(__file__).parents[2]

X86 = "processor\t: 0\nmodel name\t: CPU\nflags\t\t: fpu avx2 avx512f\n\n" * 2


@pytest.fixture
def entry() -> ModuleType:
    """scripts/setup.py as a module."""
    spec = importlib.util.spec_from_file_location("setup_entry", ROOT / "scripts" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestCompilers:
    def test_all_there(self, tools: PutTool) -> None:
        for name in ("g++", "gcc", "ninja"):
            tools(name)
        tools("cmake", "echo cmake version 3.25.1")
        machine.require_compilers()

    def test_everything_missing_is_one_line(self, tools: PutTool) -> None:
        with pytest.raises(SetupError) as caught:
            machine.require_compilers()
        told = str(caught.value)
        assert told.endswith("sudo apt-get install build-essential cmake make")
        assert "\n" not in told

    @pytest.mark.parametrize(
        ("missing", "package"), [("g++", "build-essential"), ("gcc", "build-essential"), ("cmake", "cmake")]
    )
    def test_one_missing(self, tools: PutTool, missing: str, package: str) -> None:
        for name in {"g++", "gcc", "make", "cmake"} - {missing}:
            tools(name, "echo 3.25")
        with pytest.raises(SetupError, match=rf"sudo apt-get install {package}$"):
            machine.require_compilers()

    def test_a_compiler_of_ones_own(self, tools: PutTool, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("clang-19", "clang++-19", "make"):
            tools(name)
        tools("cmake", "echo cmake version 4.0.0")
        with pytest.raises(SetupError):
            machine.require_compilers()
        monkeypatch.setenv("CC", "clang-19 -pipe")
        monkeypatch.setenv("CXX", "clang++-19")
        machine.require_compilers()

    def test_an_old_cmake(self, tools: PutTool) -> None:
        for name in ("c++", "cc", "make"):
            tools(name)
        tools("cmake", "echo cmake version 3.18.4")
        with pytest.raises(SetupError, match=r"llama\.cpp needs cmake 3\.21 or newer, not 3\.18"):
            machine.require_compilers()


class TestCpu:
    def test_the_signature_is_of_the_instruction_sets(self, tmp_path: Path) -> None:
        info = tmp_path / "cpuinfo"
        info.write_text(X86)
        first = machine.cpu_signature(info)
        assert first.endswith("avx2 avx512f fpu")
        info.write_text(X86.replace("processor\t: 0", "processor\t: 7").replace("CPU", "same CPU, faster"))
        assert machine.cpu_signature(info) == first
        info.write_text(X86.replace(" avx512f", ""))
        assert machine.cpu_signature(info) != first

    def test_arm(self, tmp_path: Path) -> None:
        info = tmp_path / "cpuinfo"
        info.write_text("Features\t: fp asimd sve\n")
        assert machine.cpu_signature(info).endswith("asimd fp sve")

    def test_crashing_and_slow_kernels_are_not_compiled(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = tmp_path / "cpuinfo"
        info.write_text("flags : avx512_fp16 avx512f amx_int8 amx_tile avx512_bf16\n")
        assert machine.cpu_signature(info).endswith(" avx512_bf16 avx512f")
        monkeypatch.setenv("CXXFLAGS", "-O2")
        monkeypatch.delenv("CFLAGS", raising=False)
        undefined = "-U__AMX_INT8__ -U__AVX512FP16__"
        assert machine.compiler_flags() == {"CFLAGS": undefined, "CXXFLAGS": f"-O2 {undefined}"}

    def test_no_cpuinfo(self, tmp_path: Path) -> None:
        assert machine.cpu_signature(tmp_path / "none")


def test_a_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(
        SetupError, match=rf"ensurepip: sudo apt-get install python{re.escape(version)}-venv$"
    ):
        machine.require_venv()


class TestOldPython:
    def test_names_a_newer_one(
        self,
        entry: ModuleType,
        tools: PutTool,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tools("python3.12")
        tools("python3.13", "exit 127")  # a pyenv shim without the version behind it
        monkeypatch.setattr(entry.sys, "version_info", (3, 9, 2))
        assert entry.main() == 1
        told = capsys.readouterr().err
        assert told == (
            "stevemin needs Python 3.11 or newer, not 3.9.2. Found one: make chat PYTHON=python3.12\n"
        )

    def test_or_says_how_to_get_one(
        self,
        entry: ModuleType,
        tools: PutTool,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(entry.sys, "version_info", (3, 10, 0))
        assert entry.main() == 1
        assert "sudo apt-get install python3.11-venv" in capsys.readouterr().err


def test_a_fresh_checkout_without_compilers(tools: PutTool, cache: Path, tmp_path: Path) -> None:
    """The real command, in a process of its own: one line, status 1, nothing made."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    done = subprocess.run(
        [sys.executable, "scripts/setup.py", "install"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Compiling llama.cpp needs a C++ compiler and cmake and make: "
        "sudo apt-get install build-essential cmake make\n"
    )
    assert not (checkout / ".venv").exists()
    assert not cache.exists()
