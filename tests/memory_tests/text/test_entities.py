"""Whom and what a statement names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.text import entities_in, entity_key
from memory.types import FactKind


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("My sister Clara is a paediatrician", "fact", ["kin sister", "name Clara"]),
        ("I have two sisters in São Paulo", "fact", ["kin sister", "name São Paulo"]),
        ("I use Arch Linux with an RTX 3060", "tool", ["tool Arch Linux", "machine RTX 3060"]),
        ("i use neovim and docker", "tool", ["tool neovim", "tool docker"]),
        ("We're on Django 4.2", "version", ["tool Django"]),
        ("I'm on Node 20", "version", ["tool Node"]),
        ("We decided to use Postgres instead of MySQL", "decision", ["tool Postgres", "tool MySQL"]),
        ("Our project is called Marlin", "project", ["project Marlin"]),
        ("My laptop is a ThinkPad T14 with 32 GB of RAM", "machine", ["machine ThinkPad T14"]),
        ("Rex is afraid of thunder", "fact", ["name Rex"]),
        ("Meine Tochter heißt Johanna und wir wohnen in Leipzig",
         "fact", ["kin Tochter", "name Johanna", "name Leipzig"]),
        ("J'habite à Nantes", "fact", ["name Nantes"]),
        ("Мы используем GitLab", "tool", ["tool GitLab"]),
        ("The deadline is next Friday in May", "deadline", []),
        ("Always answer in metric units", "preference", []),
        ("Works on Tuesdays", "fact", []),
        ("我住在成都", "fact", []),
        ("Ich habe eine Katze und einen Garten", "fact", ["kin Katze"]),
    ],
)  # fmt: skip
def test_names_and_relatives_are_found(text: str, kind: FactKind, names: list[str]) -> None:
    assert [f"{entity.kind} {entity.name}" for entity in entities_in(text, kind)] == names


def test_spellings_of_one_name_have_one_key() -> None:
    assert entity_key("RTX  3060") == entity_key("rtx 3060")


@given(st.text(max_size=120))
def test_what_is_named_stands_in_the_text(text: str) -> None:
    for entity in entities_in(text, "fact"):
        assert entity.kind == "kin" or entity.name in " ".join(text.replace("\u2019", "'").split())
