"""The virtual environment: created, filled and repaired, or left alone when nothing has changed.

Every package comes from requirements/, whose hashes pip checks; a file in the environment records what was
set up, so that nothing is done twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap import machine, wheel
from bootstrap.console import SetupError, run_logged, say
from bootstrap.gpu import GpuChoice, choose

__all__ = ["Environment", "State", "fingerprint"]

_STATE = "stevemin-setup.json"
_CPU_BUILD = "from importlib.metadata import version; print('+cpu' in version('torch'))"


@dataclass(frozen=True)
class State:
    """A finished or unfinished set-up, as recorded in the environment.

    Args:
        inputs: fingerprint of the files and the interpreter it was made from; empty while unfinished.
        wheel: key of the compiled wheel that is installed; empty if none is.
        extras: the optional dependencies that are installed.
    """

    inputs: str = ""
    python: str = ""
    wheel: str = ""
    extras: tuple[str, ...] = ()
    gpu: GpuChoice | None = None

    @classmethod
    def read(cls, venv: Path) -> State:
        """The state of an environment; an empty one if its record is missing or damaged."""
        try:
            stored = json.loads((venv / _STATE).read_text(encoding="utf-8"))
            choice = GpuChoice(**stored["gpu"]) if stored["gpu"] else None
            return cls(**{**stored, "extras": tuple(stored["extras"]), "gpu": choice})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def write(self, venv: Path) -> None:
        """Replace the record atomically."""
        partial = venv / f"{_STATE}.{os.getpid()}"
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        partial.replace(venv / _STATE)

    def covers(self, inputs: str, backend: str, extras: tuple[str, ...]) -> bool:
        """Whether everything asked for is installed already."""
        same_gpu = self.gpu is not None and self.gpu.backend == backend
        return bool(self.inputs) and self.inputs == inputs and same_gpu and set(extras) <= set(self.extras)


class Environment:
    """The `.venv` of a checkout.

    Args:
        root: the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.logs = root / "build" / "setup"

    def requirements(self, name: str) -> Path:
        """A file of locked packages; see scripts/lock.py."""
        return self.root / "requirements" / f"{name}.txt"

    def is_ready(self, asked_gpu: str, extras: tuple[str, ...]) -> bool:
        """Whether there is nothing to do; takes milliseconds.

        Raises:
            SetupError: the GPU asked for cannot be used.
        """
        state = State.read(self.venv)
        choice = choose(asked_gpu, state.gpu)
        inputs = fingerprint(self.root, machine.python_identity())
        return state.covers(inputs, choice.backend, extras) and self.python.exists()

    def install(self, asked_gpu: str, extras: tuple[str, ...]) -> None:
        """Bring the environment up to date; safe to interrupt and to repeat.

        Raises:
            SetupError: a tool is missing or a step failed.
        """
        started = time.monotonic()
        state = State.read(self.venv)
        choice = choose(asked_gpu, state.gpu)
        if choice.note:
            say(choice.note)
        extras = tuple(sorted({*extras, *state.extras}))
        request = wheel.WheelRequest.of_this_machine(self.requirements("llama"), choice.backend)
        wheel.require_buildable(request)
        state = self._make_venv(state)
        self._pip("Installing build tools", self._locked("build"), "build-tools.log")
        state = self._install_llama(state, choice, request)
        self._install_packages(extras)
        self._check_llama()
        inputs = fingerprint(self.root, machine.python_identity())
        dataclasses.replace(state, inputs=inputs, extras=extras).write(self.venv)
        say(f"Set up in {time.monotonic() - started:.0f} s. Environment: {self.venv}")

    def _make_venv(self, state: State) -> State:
        identity = machine.python_identity()
        if not (state.python == identity and self._works()):
            machine.require_venv()
            say(f"Creating .venv with Python {sys.version.split()[0]}")
            command = [sys.executable, "-m", "venv", "--clear", str(self.venv)]
            run_logged("Creating .venv", command, self.logs / "venv.log")
            state = State()
        state = dataclasses.replace(state, inputs="", python=identity)
        state.write(self.venv)
        return state

    def _works(self) -> bool:
        command = [str(self.python), "-c", "import pip"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def _install_llama(self, state: State, choice: GpuChoice, request: wheel.WheelRequest) -> State:
        if state.wheel != request.key:
            built = wheel.provide(request, self.python, self.requirements("llama"), self.logs)
            arguments = ["--no-deps", "--force-reinstall", str(built)]
            self._pip("Installing llama.cpp", arguments, "llama-install.log")
        # Recorded only now: the next set-up must not remember a backend that does not compile.
        state = dataclasses.replace(state, wheel=request.key, gpu=choice)
        state.write(self.venv)
        return state

    def _install_packages(self, extras: tuple[str, ...]) -> None:
        # PyTorch's CPU build spares gigabytes, but only some indexes and mirrors offer it.
        if refusal := self._refusal("torch-cpu"):
            say(f"Installing torch with CUDA libraries, not its CPU build: {refusal}.")
        else:
            self._pip("Installing torch", self._locked("torch-cpu"), "torch.log")
        self._pip("Installing packages", self._locked("runtime", *extras), "packages.log")
        if not self._torch_is_cpu_build():
            self._pip("Installing CUDA libraries", self._locked("cuda"), "cuda.log")
        arguments = ["--no-deps", "--no-build-isolation", "--editable", str(self.root)]
        self._pip("Installing stevemin", arguments, "stevemin.log")

    def _locked(self, *names: str) -> list[str]:
        # --no-deps: the files are complete, but for the CUDA libraries, which a CPU build does not need.
        files = [part for name in names for part in ("--requirement", str(self.requirements(name)))]
        return ["--require-hashes", "--no-deps", *files]

    def _refusal(self, name: str) -> str:
        """Why pip does not install a locked file; empty if it does."""
        command = [str(self.python), "-m", "pip", "install", "--dry-run", "--quiet", *self._locked(name)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not done.returncode:
            return ""
        # Either a damaged wheel or one for a Python or a platform without a locked hash; pip tells no more.
        if "DO NOT MATCH THE HASHES" in done.stderr:
            return f"what the index offers does not have a hash of {self.requirements(name).name}"
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        return lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else f"pip ended with {done.returncode}"

    def _torch_is_cpu_build(self) -> bool:
        done = subprocess.run(
            [str(self.python), "-c", _CPU_BUILD], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() == "True"

    def _pip(self, label: str, arguments: list[str], log: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "--progress-bar", "off", *arguments]
        run_logged(label, command, self.logs / log)

    def _check_llama(self) -> None:
        command = [str(self.python), "-c", "import llama_cpp"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
            raise SetupError(
                f"The compiled llama.cpp does not load ({reason}). "
                f"Remove {wheel.cache_folder()} and .venv, then run make again."
            )


def fingerprint(root: Path, python: str) -> str:
    """A digest of what an environment depends on: files, interpreter, folder, CPU, compiler flags."""
    digest = hashlib.sha256(f"{root}\n{python}\n".encode())
    locked = sorted((root / "requirements").glob("*.txt"))
    for path in (root / "pyproject.toml", *locked):
        digest.update(path.read_bytes())
    digest.update(os.environ.get("CMAKE_ARGS", "").strip().encode())
    # A folder that moved to another machine, or flags that changed, need another llama.cpp.
    digest.update(machine.cpu_signature().encode())
    digest.update(repr(machine.compiler_flags()).encode())
    return digest.hexdigest()
