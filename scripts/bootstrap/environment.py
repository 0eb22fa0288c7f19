"""The virtual environment: made, filled and repaired, or left alone when it is as it should be."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

from bootstrap import machine, wheel
from bootstrap.console import run_logged, say
from bootstrap.errors import SetupError
from bootstrap.gpu import GpuChoice, choose
from bootstrap.state import State, fingerprint

__all__ = ["Environment"]


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

    def is_ready(self, asked_gpu: str, extras: tuple[str, ...]) -> bool:
        """Whether nothing is to be done; takes milliseconds.

        Raises:
            SetupError: the GPU asked for cannot be used.
        """
        state = State.read(self.venv)
        choice = choose(asked_gpu, state.gpu)
        inputs = fingerprint(self.root, machine.python_identity())
        return state.covers(inputs, choice.backend, extras) and self.python.exists()

    def install(self, asked_gpu: str, extras: tuple[str, ...]) -> None:
        """Make the environment what it should be; safe to stop and to repeat.

        Raises:
            SetupError: something is missing or failed.
        """
        started = time.monotonic()
        state = State.read(self.venv)
        choice = choose(asked_gpu, state.gpu)
        if choice.note:
            say(choice.note)
        extras = tuple(sorted({*extras, *state.extras}))
        request = wheel.WheelRequest.of_this_machine(self.root / "constraints.txt", choice.backend)
        wheel.require_buildable(request)
        state = self._make_venv(state)
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
            say(f"Making .venv with Python {sys.version.split()[0]}")
            command = [sys.executable, "-m", "venv", "--clear", str(self.venv)]
            run_logged("Making .venv", command, self.logs / "venv.log")
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
            built = wheel.provide(request, self.python, self.logs)
            arguments = ["--no-deps", "--force-reinstall", str(built)]
            self._pip("Installing llama.cpp", arguments, "llama-install.log")
        # Not before: a backend that does not compile must not be what the next set-up remembers.
        state = dataclasses.replace(state, wheel=request.key, gpu=choice)
        state.write(self.venv)
        return state

    def _install_packages(self, extras: tuple[str, ...]) -> None:
        target = f"{self.root}[{','.join(extras)}]" if extras else str(self.root)
        arguments = ["--constraint", str(self.root / "constraints.txt"), "--editable", target]
        self._pip("Installing packages", arguments, "packages.log")

    def _pip(self, label: str, arguments: list[str], log: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "--progress-bar", "off", *arguments]
        run_logged(label, command, self.logs / log)

    def _check_llama(self) -> None:
        command = [str(self.python), "-c", "import llama_cpp"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            told = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
            raise SetupError(
                f"The compiled llama.cpp does not load ({told}). "
                f"Remove {wheel.cache_folder()} and .venv, then run make again."
            )
