"""Compiles llama-cpp-python and caches the wheel.

pip's own cache would hand a CPU wheel to a CUDA build, and one CPU's wheel to another: it checks neither.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bootstrap import gpu, machine
from bootstrap.console import SetupError, run_logged, say

__all__ = ["WheelRequest", "cache_folder", "find_cached", "locked_version", "provide", "require_buildable"]

PACKAGE = "llama-cpp-python"
_CORE_MINUTES = {"none": 12, "metal": 12, "vulkan": 25, "cuda": 60}


@dataclass(frozen=True)
class WheelRequest:
    """Everything that a compiled wheel depends on."""

    version: str
    backend: str
    python_tag: str
    cpu: str
    cards: str
    extra_flags: str

    @classmethod
    def of_this_machine(cls, locked: Path, backend: str) -> WheelRequest:
        """The request for this machine and the version in requirements/llama.txt."""
        return cls(
            version=locked_version(locked),
            backend=backend,
            python_tag=f"cp{sys.version_info.major}{sys.version_info.minor}",
            cpu=machine.cpu_signature(),
            cards=gpu.identity(backend),
            extra_flags=os.environ.get("CMAKE_ARGS", "").strip(),
        )

    @property
    def key(self) -> str:
        """The name of the wheel's folder in the cache."""
        digest = hashlib.sha256("\n".join((self.cpu, self.cards, self.extra_flags)).encode()).hexdigest()
        return f"{self.version}-{self.backend}-{self.python_tag}-{digest[:12]}"


def locked_version(locked: Path) -> str:
    """The version of llama-cpp-python in requirements/llama.txt."""
    match = re.search(rf"^{PACKAGE}==(\S+)", locked.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SetupError(f"{locked} does not pin {PACKAGE}.")
    return match[1]


def cache_folder() -> Path:
    """The folder of compiled wheels, shared by all checkouts of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stevemin" / "wheels"


def find_cached(cache: Path, key: str) -> Path | None:
    """The cached wheel for a key, if any."""
    return next(iter(sorted((cache / key).glob("*.whl"))), None)


def require_buildable(request: WheelRequest) -> None:
    """Raise SetupError if the wheel must be compiled and a tool for that is missing."""
    if find_cached(cache_folder(), request.key) is None:
        machine.require_compilers()


def provide(request: WheelRequest, python: Path, locked: Path, logs: Path) -> Path:
    """The wheel, from the cache or compiled now.

    Args:
        locked: requirements/llama.txt, with the hash of the sources.

    Raises:
        SetupError: compiling failed.
    """
    cache = cache_folder()
    cached = find_cached(cache, request.key)
    if cached is not None:
        return cached
    _announce(request)
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    try:
        _compile(request, python, locked, scratch, logs / "llama-cpp-python.log")
        return _keep(scratch, cache, request.key)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _announce(request: WheelRequest) -> None:
    cores = machine.cores()
    minutes = max(1, round(_CORE_MINUTES[request.backend] / cores))
    target = "the CPU" if request.backend == "none" else f"{request.backend} and the CPU"
    say(
        f"Compiling llama.cpp for {target} ({PACKAGE} {request.version}): about {minutes} minutes on {cores} "
        f"core{'s' * (cores > 1)}, once."
    )


def _compile(request: WheelRequest, python: Path, locked: Path, target: Path, log: Path) -> None:
    flags = " ".join([*gpu.cmake_flags(request.backend), request.extra_flags]).strip()
    command = [str(python), "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-cache-dir"]
    command += ["--no-build-isolation", "--no-binary", PACKAGE, "--wheel-dir", str(target)]
    command += ["--require-hashes", "--requirement", str(locked)]
    environment = {
        "CMAKE_ARGS": flags,
        **machine.compiler_flags(),
        **gpu.compiler_environment(request.backend),
    }
    run_logged("Compiling llama.cpp", command, log, environment=environment)


def _keep(scratch: Path, cache: Path, key: str) -> Path:
    if not list(scratch.glob("*.whl")):
        raise SetupError(f"pip built no wheel of {PACKAGE}.")
    scratch.chmod(0o755)
    try:
        scratch.rename(cache / key)
    except OSError:  # another set-up was faster, or an empty folder is in the way
        shutil.rmtree(cache / key, ignore_errors=True)
        scratch.rename(cache / key)
    kept = find_cached(cache, key)
    assert kept is not None
    return kept
