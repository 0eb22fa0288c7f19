from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bootstrap import environment as environment_module
from bootstrap import machine, main, wheel
from bootstrap.console import SetupError
from bootstrap.environment import Environment, State, fingerprint
from bootstrap.gpu import GpuChoice

ROOT = Path(__file__).parents[2]


class Commands:
    """Stands for the long commands: notes their labels, and can be stopped in the middle of one."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.labels: list[str] = []
        self.arguments: dict[str, list[str]] = {}
        self.stop_at = ""

    def __call__(self, label: str, command: list[str], log: Path, **_: Any) -> None:
        self.labels.append(label)
        self.arguments[label] = command
        if label == self.stop_at:
            raise KeyboardInterrupt
        if label == "Creating .venv":
            self.environment.python.parent.mkdir(parents=True, exist_ok=True)
            self.environment.python.write_text("#!/bin/sh\necho True\n")
            self.environment.python.chmod(0o755)

    def take(self) -> list[str]:
        labels, self.labels = self.labels, []
        return labels


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    return folder


@pytest.fixture
def environment(checkout: Path) -> Environment:
    return Environment(checkout)


@pytest.fixture
def commands(environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    recorded = Commands(environment)
    monkeypatch.setattr(environment_module, "run_logged", recorded)
    monkeypatch.setattr(wheel, "require_buildable", lambda request: None)
    monkeypatch.setattr(wheel, "provide", lambda request, *_: tmp_path / f"{request.key}.whl")
    monkeypatch.setattr("bootstrap.gpu._check_tools", lambda backend: None)
    return recorded


TOOLS, LLAMA = "Installing build tools", "Installing llama.cpp"
PACKAGES = ["Installing torch", "Installing packages", "Installing stevemin"]
ALL = ["Creating .venv", TOOLS, LLAMA, *PACKAGES]


def change(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")


def test_the_first_time_does_everything_and_the_second_nothing(
    environment: Environment, commands: Commands
) -> None:
    assert not environment.is_ready("none", ())
    environment.install("none", ())
    assert commands.take() == ALL
    assert environment.is_ready("none", ())


def test_pip_checks_the_hash_of_everything_it_fetches(environment: Environment, commands: Commands) -> None:
    """Each call takes locked packages and no others, or installs without fetching: our wheel, our sources."""
    environment.install("none", ("dev",))
    locked, fetched = ["--require-hashes", "--no-deps"], set[str]()
    for label, command in commands.arguments.items():
        assert not [argument for argument in command if "index" in argument or "find-links" in argument]
        if label in (LLAMA, "Installing stevemin"):
            assert "--no-deps" in command
            assert command[-1].endswith(".whl") or command[-3:-1] == ["--no-build-isolation", "--editable"]
        elif label != "Creating .venv":
            options = command[command.index("off") + 1 :]
            assert options[:2] == locked
            assert set(options[2::2]) == {"--requirement"}
            fetched |= set(options[3::2])
    assert fetched == {
        str(environment.requirements(name)) for name in ("build", "torch-cpu", "runtime", "dev")
    }


def test_without_the_cpu_build_of_torch_its_cuda_libraries_are_installed(
    environment: Environment, commands: Commands
) -> None:
    environment.install("none", ())
    environment.python.write_text("#!/bin/sh\ncase $* in *torch-cpu*) exit 1;; esac\necho False\n")
    change(environment.requirements("runtime"))
    commands.take()
    environment.install("none", ())
    assert commands.take() == [TOOLS, PACKAGES[1], "Installing CUDA libraries", PACKAGES[2]]
    command = commands.arguments["Installing CUDA libraries"]
    assert command[-4:] == [
        "--require-hashes",
        "--no-deps",
        "--requirement",
        str(environment.requirements("cuda")),
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "ERROR: No matching distribution found for torch==2+cpu",
            "No matching distribution found for torch",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. Look.\\n  Expected: a",
            "what the index offers does not have a hash of torch-cpu.txt.",
        ),
        ("", "pip ended with 1."),
    ],
)
def test_why_torch_is_not_the_cpu_build(
    environment: Environment,
    commands: Commands,
    capsys: pytest.CaptureFixture[str],
    error: str,
    reason: str,
) -> None:
    environment.install("none", ())
    assert "CPU build" not in capsys.readouterr().err
    script = f"#!/bin/sh\ncase $* in *torch-cpu*) printf '{error}\\n' >&2; exit 1;; esac\necho False\n"
    environment.python.write_text(script)
    change(environment.requirements("runtime"))
    environment.install("none", ())
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "CPU build" in line]
    assert reason in line


def test_the_extras_of_before_are_kept(environment: Environment, commands: Commands) -> None:
    environment.install("none", ("dev",))
    assert environment.is_ready("none", ())
    change(environment.requirements("runtime"))
    environment.install("none", ())
    assert commands.arguments["Installing packages"][-1] == str(environment.requirements("dev"))


def test_the_tests_need_more_than_the_chat(environment: Environment, commands: Commands) -> None:
    environment.install("none", ())
    commands.take()
    assert not environment.is_ready("none", ("dev",))
    environment.install("none", ("dev",))
    assert commands.take() == [TOOLS, *PACKAGES]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/runtime.txt"])
def test_a_changed_file_installs_again_but_compiles_nothing(
    environment: Environment, commands: Commands, name: str
) -> None:
    environment.install("none", ())
    commands.take()
    change(environment.root / name)
    assert not environment.is_ready("none", ())
    environment.install("none", ())
    assert commands.take() == [TOOLS, *PACKAGES]


def test_another_gpu_changes_only_llama(environment: Environment, commands: Commands) -> None:
    environment.install("none", ())
    commands.take()
    assert not environment.is_ready("vulkan", ())
    environment.install("vulkan", ())
    assert commands.take() == [TOOLS, LLAMA, *PACKAGES]
    assert "--force-reinstall" in commands.arguments["Installing llama.cpp"]
    assert environment.is_ready("", ()), "the choice by hand is remembered"


def test_another_python_makes_a_new_environment(
    environment: Environment, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.install("none", ())
    commands.take()
    monkeypatch.setattr("bootstrap.machine.python_identity", lambda: "CPython 3.99.0 /opt")
    assert not environment.is_ready("none", ())
    environment.install("none", ())
    assert commands.take() == ALL


def test_a_moved_checkout_is_set_up_again(
    environment: Environment, commands: Commands, checkout: Path
) -> None:
    environment.install("none", ())
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert not Environment(moved).is_ready("none", ())


def test_a_removed_environment_is_noticed(environment: Environment, commands: Commands) -> None:
    environment.install("none", ())
    environment.python.unlink()
    assert not environment.is_ready("none", ())
    commands.take()
    environment.install("none", ())
    assert commands.take() == ALL


@pytest.mark.parametrize(
    ("stop_at", "again"),
    [("Creating .venv", ALL), (LLAMA, ALL[1:]), ("Installing packages", [TOOLS, *PACKAGES])],
)
def test_a_stopped_set_up_goes_on_where_it_was(
    environment: Environment, commands: Commands, stop_at: str, again: list[str]
) -> None:
    commands.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        environment.install("none", ())
    assert not environment.is_ready("none", ())
    commands.stop_at = ""
    commands.take()
    environment.install("none", ())
    assert commands.take() == again
    assert environment.is_ready("none", ())


def test_a_backend_that_does_not_compile_is_not_remembered(
    environment: Environment, commands: Commands
) -> None:
    commands.stop_at = "Installing llama.cpp"
    with pytest.raises(KeyboardInterrupt):
        environment.install("vulkan", ())
    assert State.read(environment.venv).gpu is None


def test_a_compiled_library_that_does_not_load(environment: Environment, commands: Commands) -> None:
    environment.install("none", ())
    script = '#!/bin/sh\ncase "$2" in *llama_cpp*) echo "OSError: libcuda" >&2; exit 1;; esac\n'
    environment.python.write_text(script)
    change(environment.requirements("runtime"))
    with pytest.raises(SetupError, match=r"does not load \(OSError: libcuda\)\. Remove "):
        environment.install("none", ())


class TestState:
    STATE = State(inputs="a", python="b", wheel="c", extras=("dev",), gpu=GpuChoice("none", by_hand=False))

    def test_survives(self, tmp_path: Path) -> None:
        self.STATE.write(tmp_path)
        assert State.read(tmp_path) == self.STATE
        assert [path.name for path in tmp_path.iterdir()] == ["stevemin-setup.json"]

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"gpu": 3, "extras": []}', '{"inputs": "a"}'])
    def test_damaged_is_empty(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "stevemin-setup.json").write_text(text)
        assert State.read(tmp_path) == State()

    def test_of_a_later_version_is_empty(self, tmp_path: Path) -> None:
        self.STATE.write(tmp_path)
        file = tmp_path / "stevemin-setup.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "new": 1}))
        assert State.read(tmp_path) == State()

    def test_covers(self) -> None:
        assert self.STATE.covers("a", "none", ("dev",))
        assert self.STATE.covers("a", "none", ())
        assert not self.STATE.covers("other", "none", ())
        assert not self.STATE.covers("a", "cuda", ())
        assert not self.STATE.covers("a", "none", ("more",))
        assert not State().covers("", "none", ())


def test_the_fingerprint_is_of_files_python_place_and_flags(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    first = fingerprint(checkout, "3.11")
    assert fingerprint(checkout, "3.11") == first
    assert fingerprint(checkout, "3.12") != first
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_LTO=on")
    assert fingerprint(checkout, "3.11") != first
    monkeypatch.setenv("CXXFLAGS", "-O1")
    other_flags = fingerprint(checkout, "3.11")
    monkeypatch.setattr(machine, "cpu_signature", lambda: "another CPU")
    assert len({first, other_flags, fingerprint(checkout, "3.11")}) == 3


class TestCommandLine:
    def test_ready_does_nothing_and_says_nothing(
        self, environment: Environment, commands: Commands, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(["install"], environment.root) == 0
        capsys.readouterr()
        commands.take()
        assert main.run(["install"], environment.root) == 0
        assert commands.take() == []
        assert capsys.readouterr() == ("", "")

    def test_stopped(
        self, environment: Environment, commands: Commands, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commands.stop_at = "Installing packages"
        assert main.run(["install"], environment.root) == 130
        assert capsys.readouterr().err.endswith("Interrupted. Run the same command again to continue.\n")

    def test_a_bad_gpu_is_one_line(
        self, environment: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("GPU", "voodoo")
        assert main.run(["install"], environment.root) == 1
        told = capsys.readouterr().err
        assert told == "Unknown GPU=voodoo; use cuda, vulkan, metal, none or auto.\n"

    def test_an_unwritable_folder(
        self,
        environment: Environment,
        commands: Commands,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (environment.root / "build").write_text("a file where a folder should be")
        assert main.run(["install"], environment.root) == 1
        told = capsys.readouterr().err
        assert told.startswith("Set-up failed: ")
        assert "Traceback" not in told
