"""Chat templates: which one is used, what they may do, and what happens to one that does too much."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_tests.fakes import PROCESS
from waiting import block_until

from engine import ChatMessage, EngineClosed, TemplateError, ToolCall
from engine.text import template
from engine.text.template import ChatTemplate, TemplateProcess, choose_template

TEMPLATES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))


def choose(source: str | None, **changes: object) -> ChatTemplate:
    settings: dict[str, object] = {"configured": None, "knows_chatml": False, "bos": "<s>", "eos": "</s>"}
    return choose_template(PROCESS, from_gguf=source, **(settings | changes)).template  # type: ignore[arg-type]


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


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
CONVERSATION = [
    ChatMessage("system", "Be kind."),
    ChatMessage("user", "How is the weather in Paris?"),
    ChatMessage(
        "assistant",
        "",
        reasoning="I should ask.",
        tool_calls=(ToolCall("weather", '{"place": "Paris"}', "abcdefghi"),),
    ),
    ChatMessage("tool", '{"sky": "blue"}', name="weather", call_id="abcdefghi"),
    ChatMessage("assistant", "It is fine.", reasoning="Blue is fine."),
    ChatMessage("user", "Thanks! And in Rome?"),
]
PLAIN = [message for message in CONVERSATION if message.role != "tool" and not message.tool_calls]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("tools", [[], [WEATHER]], ids=["plain", "tools"])
def test_published_templates_render_as_in_transformers(path: Path, tools: list[dict[str, object]]) -> None:
    from transformers.utils import chat_template_utils

    reference: Any = chat_template_utils
    source = path.read_text("utf-8")
    messages = CONVERSATION if tools and "tool" in source else PLAIN
    if path.stem == "gemma-2":
        messages = messages[1:]
    given = {"bos_token": "<s>", "eos_token": "</s>", "enable_thinking": False}
    (expected,), _ = reference.render_jinja_template(
        [[message.as_json() for message in messages]],
        tools=tools or None,
        chat_template=source,
        add_generation_prompt=True,
        **given,
    )
    rendered = ChatTemplate(source, PROCESS, bos="<s>", eos="</s>").render(
        messages, tools=tools, arguments={"enable_thinking": False}
    )
    assert rendered == expected


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set a = 'a' * 10**10 %}{{ a }}",
        "{{ 'a' * 500000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ (range(99999) | list | string) * 2000 }}",
        "{{ '%999999999999d' % 1 }}",
    ],
)
def test_a_template_that_takes_too_much_is_given_up_and_the_next_one_works(source: str) -> None:
    with pytest.raises(TemplateError, match="chat template"):
        # Some of them already take it while they are compiled: Jinja folds constants.
        ChatTemplate(source, PROCESS).render([ChatMessage("system", "be kind"), *USER])
    assert choose("{{ messages[0].content }}").render(USER) == "hi"


@pytest.fixture
def process() -> Iterator[TemplateProcess]:
    process = TemplateProcess()
    yield process
    process.close()


def stop(process: TemplateProcess) -> None:
    """It answers nothing any more, as with a template that does not end."""
    process.warm_up()
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGSTOP)


def test_a_process_that_was_killed_is_started_again(process: TemplateProcess) -> None:
    assert process.render("{{ x }}", {"x": "one"}) == "one"
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    assert process.render("{{ x }}", {"x": "two"}) == "two"


def test_a_process_that_does_not_answer_is_given_up(
    process: TemplateProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_WAIT_S", 0.2)
    stop(process)
    with pytest.raises(TemplateError, match="too much time"):
        process.render("{{ x }}", {"x": "one"})
    monkeypatch.setattr(template, "_WAIT_S", 60)
    assert process.render("{{ x }}", {"x": "two"}) == "two"


def test_closing_ends_a_request_under_way(process: TemplateProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_WAIT_S", 600)
    stop(process)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(process.render, "{{ x }}", {"x": "one"})
        block_until(process._lock.locked)
        process.close()
        with pytest.raises(EngineClosed):
            asked.result()
    with pytest.raises(EngineClosed):
        process.render("{{ x }}", {"x": "two"})


def test_one_template_that_does_not_end_does_not_hold_up_those_of_another_engine(
    process: TemplateProcess,
) -> None:
    stop(process)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(process.render, "{{ x }}", {"x": "one"})
        block_until(process._lock.locked)
        assert choose("{{ messages[0].content }}").render(USER) == "hi"
        assert not asked.done()
        process.close()


def test_a_process_that_nobody_closed_ends_with_its_owner() -> None:
    process = TemplateProcess()
    process.warm_up()
    assert process._process is not None
    pid = process._process.pid
    del process
    gc.collect()
    assert not psutil.pid_exists(pid)


def test_the_process_ends_with_the_program_however_that_ends() -> None:
    code = (
        "import time\n"
        "from engine.text import TemplateProcess\n"
        "process = TemplateProcess()\n"
        "process.warm_up()\n"
        "print(process._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
    block_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_no_template_is_a_named_fallback_and_told() -> None:
    chosen = choose_template(PROCESS, configured=None, from_gguf=None, knows_chatml=False, bos="", eos="")
    assert chosen.name == "plain fallback"
    assert chosen.template.render(USER) == "User: hi\n\nAssistant:"
    assert chosen.stop
    assert chosen.warning
    assert "no chat template" in chosen.warning


def test_a_broken_template_is_a_named_fallback_and_told() -> None:
    chosen = choose_template(
        PROCESS, configured=None, from_gguf="{% if %}", knows_chatml=True, bos="", eos=""
    )
    assert chosen.name == "ChatML fallback"
    assert "<|im_start|>user\nhi<|im_end|>" in chosen.template.render(USER)
    assert chosen.warning
    assert "not valid Jinja" in chosen.warning


def test_a_broken_configured_template_is_an_error() -> None:
    with pytest.raises(TemplateError, match="not valid Jinja"):
        choose(None, configured="{% if %}")
