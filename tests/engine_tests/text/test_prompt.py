"""Prompts: tokens taken over from the turn before, and chat templates in their sandbox."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from engine_tests.fakes import FakeBackend

from engine import ChatMessage, TemplateError
from engine.text import prompt
from engine.text.prompt import ChatTemplate, PromptEncoder, choose_template


class ControlBackend(FakeBackend):
    """Characters above 0x3ff are control tokens."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return chr(token).encode() if token < 0x400 or special else b""


def test_an_encoder_takes_over_the_tokens_the_model_generated() -> None:
    backend = ControlBackend()
    end = chr(0x400)
    backend.render = lambda messages: end.join(m.content for m in messages) + end  # type: ignore[method-assign]
    encoder = PromptEncoder(backend)
    odd = [ord("h"), ord("i"), 0x400, ord("y"), ord("o")]
    encoder.remember("s", odd)
    backend.tokenize = lambda text, **_: [ord(c) for c in text]  # type: ignore[method-assign]
    tokens = encoder.encode([ChatMessage("user", "hi"), ChatMessage("assistant", "yo")], "s")
    assert tokens == [*odd, 0x400]


def test_an_encoder_cuts_at_a_control_token_only() -> None:
    backend = ControlBackend()
    end = chr(0x400)
    backend.render = lambda messages: messages[0].content  # type: ignore[method-assign]
    calls: list[str] = []

    def tokenize(text: str, **_: bool) -> list[int]:
        calls.append(text)
        return [ord(c) for c in text]

    backend.tokenize = tokenize  # type: ignore[method-assign]
    encoder = PromptEncoder(backend)
    encoder.remember("s", [ord(c) for c in f"hi{end}yonder"])
    encoder.encode([ChatMessage("user", f"hi{end}yolk")], "s")
    assert calls[-1] == "yolk"


class ByteBackend(FakeBackend):
    """Tokens are bytes; 256 is a control token that is written as §."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return bytes([token]) if token < 256 else "§".encode() * special

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        parts = [[*part.encode()] for part in text.split("§")]
        return parts[0] + [token for part in parts[1:] for token in (256, *part)]

    def render(self, messages: Sequence[ChatMessage]) -> str:
        return "".join(f"{message.content}§" for message in messages)


@pytest.mark.parametrize("computed", range(1, 10))
def test_an_answer_that_ends_inside_a_character_is_taken_over_up_to_there(computed: int) -> None:
    """The last token of an answer was sampled but never computed: it may be the end of an emoji."""
    encoder = PromptEncoder(backend := ByteBackend())
    chat = [ChatMessage("user", "hi"), ChatMessage("assistant", "so👉")]
    whole = backend.tokenize("hi§so👉§")
    encoder.remember("s", whole[:computed])
    assert encoder.encode(chat, "s") == whole


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
    assert encoder.encode([ChatMessage("user", "hi")], "s") == [ord("h"), ord("i"), 0]


def choose(source: str | None, **changes: object) -> ChatTemplate:
    settings: dict[str, object] = {"configured": None, "knows_chatml": False, "bos": "<s>", "eos": "</s>"}
    return choose_template(from_gguf=source, **(settings | changes)).template  # type: ignore[arg-type]


USER = [ChatMessage("user", "hi")]


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append('x') }}",
        "{{ messages[0].__setitem__('role', 'x') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(attack: str) -> None:
    with pytest.raises(TemplateError):
        choose(attack).render(USER)


def test_a_template_can_refuse() -> None:
    with pytest.raises(TemplateError, match="no system role"):
        choose("{{ raise_exception('no system role') }}").render(USER)


def test_a_template_without_a_system_role_gets_the_text_in_front_of_the_first_message() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    assert choose(source).render([ChatMessage("system", "be kind"), *USER]) == "be kind\n\nhi"


def test_templates_have_what_transformers_gives_them() -> None:
    source = (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% endfor %}"
        "{{ bos_token }}{{ messages | tojson }}{% generation %}{{ eos_token }}{% endgeneration %}"
        "{{ strftime_now('%Y') | length }}"
    )
    assert choose(source).render(USER) == '<s>[{"role": "user", "content": "hi"}]</s>4'


def test_no_template_is_a_named_fallback_and_told() -> None:
    chosen = choose_template(configured=None, from_gguf=None, knows_chatml=False, bos="", eos="")
    assert chosen.name == "plain fallback"
    assert chosen.template.render(USER) == "User: hi\n\nAssistant:"
    assert chosen.stop
    assert chosen.warning
    assert "no chat template" in chosen.warning


def test_a_broken_template_is_a_named_fallback_and_told() -> None:
    chosen = choose_template(configured=None, from_gguf="{% if %}", knows_chatml=True, bos="", eos="")
    assert chosen.name == "ChatML fallback"
    assert "<|im_start|>user\nhi<|im_end|>" in chosen.template.render(USER)
    assert chosen.warning
    assert "not valid Jinja" in chosen.warning


def test_a_broken_configured_template_is_an_error() -> None:
    with pytest.raises(TemplateError, match="not valid Jinja"):
        choose(None, configured="{% if %}")
