"""What the machine must have before llama.cpp can be compiled, and what compiled code depends on."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.console import SetupError

__all__ = [
    "compiler_flags",
    "cores",
    "cpu_signature",
    "python_identity",
    "require_compilers",
    "require_venv",
]

_CMAKE_NEEDED = (3, 21)
# Without these macros llama.cpp takes its plain AVX-512 kernels:
# - AMX: GCC optimises away the tile configuration (ggml-org/llama.cpp#26954), and the first decode ends the
#   process with SIGILL.
# - AVX512-FP16: vectors of half-precision numbers come in strides of 128. Flash attention over narrower heads
#   (64 in most small models) then runs without vectors and takes four times as long for a token.
_PLAIN_KERNELS = "-U__AMX_INT8__ -U__AVX512FP16__"
_UNUSED = re.compile(r"amx_|avx512_fp16$")


def require_venv() -> None:
    """Raise SetupError if Python lacks venv or ensurepip, as Debian's does without python3-venv."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"Python {version} lacks its module {missing[0]}: sudo apt-get install python{version}-venv"
        )


def require_compilers() -> None:
    """Raise one SetupError that names every missing tool."""
    missing: list[str] = []
    packages: list[str] = []
    if not _compiler("CXX", ("c++", "g++", "clang++")) or not _compiler("CC", ("cc", "gcc", "clang")):
        missing.append("a C++ compiler")
        packages.append("build-essential")
    if not shutil.which("cmake"):
        missing.append("cmake")
        packages.append("cmake")
    if not shutil.which("ninja") and not shutil.which("make"):
        missing.append("make")
        packages.append("make")
    if missing:
        raise SetupError(
            f"Compiling llama.cpp needs {' and '.join(missing)}: sudo apt-get install {' '.join(packages)}"
        )
    _require_cmake_version()


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_signature(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's instruction sets: llama.cpp is compiled for exactly these and crashes without one."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    names = sorted(set(flags[1].split())) if flags else [platform.processor()]
    names = [name for name in names if not _UNUSED.match(name)]  # see `compiler_flags`
    return " ".join([platform.system(), platform.machine(), *platform.libc_ver(), *names])


def compiler_flags() -> dict[str, str]:
    """CFLAGS and CXXFLAGS that keep llama.cpp off AMX and AVX512-FP16, appended to the user's own."""
    return {name: f"{os.environ.get(name, '')} {_PLAIN_KERNELS}".strip() for name in ("CFLAGS", "CXXFLAGS")}


def python_identity() -> str:
    """The interpreter that a virtual environment depends on."""
    return f"{platform.python_implementation()} {platform.python_version()} {sys.base_prefix}"


def _compiler(variable: str, names: tuple[str, ...]) -> bool:
    chosen = shlex.split(os.environ.get(variable, ""))
    return any(shutil.which(name) for name in (chosen[:1] or names))


def _require_cmake_version() -> None:
    shown = subprocess.run(["cmake", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", shown)
    if match and (int(match[1]), int(match[2])) < _CMAKE_NEEDED:
        raise SetupError(
            f"llama.cpp needs cmake {_CMAKE_NEEDED[0]}.{_CMAKE_NEEDED[1]} or newer, not {match[0]}: "
            "pip install --user cmake"
        )
