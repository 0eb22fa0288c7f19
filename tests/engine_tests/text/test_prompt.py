"""Prompts: tokens taken over from the turn before, and control tokens that only a template can write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from engine_tests.fakes import FakeBackend

from engine import ChatMessage
from engine.step import SpecialTokens
from engine.text import prompt
from engine.text.prompt import PromptEncoder


class ControlBackend(FakeBackend):
    """The character 0x400 is a control token."""

    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens((chr(0x400),))

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return chr(token).encode() if token < 0x400 or special else b""


def test_an_encoder_takes_over_the_tokens_the_model_generated() -> None:
    backend = ControlBackend()
    end = chr(0x400)
    backend.render = lambda messages, **_: end.join(m.content for m in messages) + end  # type: ignore[method-assign]
    encoder = PromptEncoder(backend)
    odd = [ord("h"), ord("i"), 0x400, ord("y"), ord("o")]
    encoder.remember("s", odd)
    backend.tokenize = lambda text, **_: [ord(c) for c in text]  # type: ignore[method-assign]
    prompt = encoder.encode([ChatMessage("user", "hi"), ChatMessage("assistant", "yo")], "s")
    assert prompt.tokens == [*odd, 0x400]


def test_an_encoder_cuts_at_a_control_token_only() -> None:
    backend = ControlBackend()
    end = chr(0x400)
    backend.render = lambda messages, **_: end.join(m.content for m in messages)  # type: ignore[method-assign]
    calls: list[str] = []

    def tokenize(text: str, **_: bool) -> list[int]:
        calls.append(text)
        return [ord(c) for c in text]

    backend.tokenize = tokenize  # type: ignore[method-assign]
    encoder = PromptEncoder(backend)
    encoder.remember("s", [ord(c) for c in f"hi{end}yonder"])
    encoder.encode([ChatMessage("user", "hi"), ChatMessage("assistant", "yolk")], "s")
    assert calls[-1] == "yolk"


class ByteBackend(FakeBackend):
    """Tokens are bytes; 256 is a control token that is written as §."""

    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens(("§",))

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return bytes([token]) if token < 256 else "§".encode() * special

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        parts = [[*part.encode()] for part in text.split("§")]
        return parts[0] + [token for part in parts[1:] for token in (256, *part)]

    def render(self, messages: Sequence[ChatMessage], **_: Any) -> str:
        return "".join(f"{message.content}§" for message in messages)


@pytest.mark.parametrize("computed", range(1, 10))
def test_an_answer_that_ends_inside_a_character_is_taken_over_up_to_there(computed: int) -> None:
    """The last token of an answer was sampled but never computed: it may be the end of an emoji."""
    encoder = PromptEncoder(backend := ByteBackend())
    chat = [ChatMessage("user", "hi"), ChatMessage("assistant", "so👉")]
    whole = backend.tokenize("hi§so👉§")
    encoder.remember("s", whole[:computed])
    assert encoder.encode(chat, "s").tokens == whole


def test_what_is_remembered_is_bounded_by_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_REMEMBERED", 100)
    encoder = PromptEncoder(ControlBackend())
    for name in "abc":
        encoder.remember(name, [*range(40)])
    encoder.remember("c", [*range(30)])
    assert encoder._remembered == 70
    assert [*encoder._known] == ["b", "c"]
    encoder.remember("d", [*range(200)])
    assert (encoder._remembered, [*encoder._known]) == (0, [])


def test_a_forgotten_session_is_tokenised_anew() -> None:
    backend = ControlBackend()
    encoder = PromptEncoder(backend)
    encoder.remember("s", [1, 2, 3])
    encoder.forget("s")
    assert encoder.encode([ChatMessage("user", "hi")], "s").tokens == [ord("h"), ord("i"), 0]


def test_what_the_model_generated_is_not_taken_over_where_it_is_too_long() -> None:
    """The tokeniser makes one token of what the model wrote in two; by its count the prompt fits."""
    backend = ControlBackend(cells=6)
    pair, end = 0x300, chr(0x400)
    backend.render = lambda messages, **_: end.join(m.content for m in messages)  # type: ignore[method-assign]
    backend.tokenize = lambda text, **_: [*map(ord, text.replace("yo", chr(pair)))]  # type: ignore[method-assign]
    backend.piece = lambda token, **_: b"yo" if token == pair else chr(token).encode()  # type: ignore[method-assign]
    encoder = PromptEncoder(backend)
    encoder.remember("s", [ord("h"), 0x400, ord("y"), ord("o"), 0x400])
    chat = [ChatMessage("user", "h"), ChatMessage("assistant", "yo")]
    assert encoder.encode([*chat, ChatMessage("user", "h")], "s").tokens == [
        ord("h"),
        0x400,
        pair,
        0x400,
        ord("h"),
    ]
