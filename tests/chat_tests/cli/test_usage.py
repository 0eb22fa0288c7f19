"""Wrong usage, help, settings and folders that cannot be used: one clear line, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import ROOT, Cli, run_process
from chat_tests.models.loopback_hub import REPO, LoopbackHub

from stevemin_chat.base.paths import Paths


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modls"], "No such command 'modls'. Did you mean 'models'? See: stevemin --help"),
        (["models"], "Missing command. See: stevemin models --help"),
        (["models", "info"], "Missing argument 'name'"),
        (["ask", "--tempratur", "1"], "No such option: --tempratur"),
        (["ask", "hi", "--max-tokens", "many"], "Invalid value for '--max-tokens'"),
        (["ask", "hi", "--temperature", "9"], "temperature must be between 0 and 5, not 9"),
        (["ask", "hi", "--context", "slidng"], "ontext strategy 'slidng'. Choose one of:"),
        (["ask", "hi", "--json-schema", "a", "--grammar", "b"], "either --json-schema or --grammar"),
        (["ask", "hi", "-s", " "], "needs a title or an id"),
        (["ask"], "There is no question"),
        (["ask", "  "], "There is no question"),
        ([], "The chat needs a terminal. In scripts and pipes, use: stevemin ask"),
        (["-m", "x", "models", "list"], "Put -m after the command"),
        (
            ["models", "pull", "https://example.org/a/b"],
            "neither a name of the catalogue nor OWNER/REPO[:FILE]",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str], words: str) -> None:
    cli(*arguments).failed(words, code=2)


def test_help_and_version(cli: Cli) -> None:
    for arguments in (["--help"], ["-h"], ["ask", "-h"], ["models", "pull", "--help"], ["--version"]):
        ran = cli(*arguments)
        assert ran.code == 0
        assert "stevemin" in ran.out
        assert ran.err == ""


def test_help_is_quick_because_it_imports_little(tmp_path: Path) -> None:
    ran = run_process("--help", PYTHONPROFILEIMPORTTIME="1")
    assert ran.code == 0
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.err.splitlines()}
    heavy = {
        "textual",
        "llama_cpp",
        "numpy",
        "huggingface_hub",
        "pydantic",
        "engine",
        "memory",
        "rich",
        "asyncio",
    }
    assert imported & heavy == set()
    assert "typer" in imported


# Settings and folders


def test_a_typo_in_the_settings(cli: Cli, paths: Paths) -> None:
    paths.config_file.write_text("[sampling]\ntemprature = 1\n")
    for arguments in (["models", "list"], ["sessions", "list"], ["ask", "hi"]):
        cli(*arguments).failed(
            f"{paths.config_file}, line 2: sampling.temprature", "Did you mean temperature?"
        )


def test_a_strategy_that_does_not_exist_is_refused_at_the_start(cli: Cli, paths: Paths) -> None:
    paths.config_file.write_text('model = "smollm2-135m"\nstrategy = "slidng"\n')
    for arguments in (["sessions", "list"], ["ask", "hi"], ["ask", "hi", "--context", "full"]):
        cli(*arguments).failed(
            f"{paths.config_file}, line 2: strategy", "'slidng'", "hierarchical, adaptive, retrieval"
        )


@pytest.mark.parametrize("name", ["config.toml", "models.toml"])
def test_a_deeply_nested_file_is_named(cli: Cli, paths: Paths, name: str) -> None:
    (paths.config / name).write_text("x = " + "[" * 100_000)
    ran = cli("models", "list")
    ran.failed(str(paths.config / name), "nested too deeply")
    assert "nexpected" not in ran.err


def test_a_typo_in_the_users_catalogue(cli: Cli, paths: Paths) -> None:
    paths.user_catalogue.write_text("[models.x]\nfle = 'a.gguf'\n")
    cli("models", "list").failed(str(paths.user_catalogue), "models.x")


@pytest.mark.parametrize(
    "arguments", [["sessions", "list"], ["ask", "hi", "-s", "x"], ["models", "pull", REPO]]
)
def test_a_data_folder_that_cannot_be_written_to(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, arguments: list[str]
) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    cli(*arguments).failed("/proc/stevemin/data", "is not writable")


def test_an_unexpected_error_is_one_line_and_the_log_has_the_rest(
    cli: Cli, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stevemin_chat.models.catalogue.Catalogue.load", lambda *paths: 1 / 0)
    cli("models", "list").failed("ZeroDivisionError", str(paths.log_file))
    assert "Traceback" in paths.log_file.read_text()


@pytest.mark.parametrize("package", ["typer", "pydantic", "rich"])
def test_a_missing_package_is_one_line(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    changes = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = run_process("models", "list", **changes)
    ran.failed(f"No module named '{package}'", "make install")
