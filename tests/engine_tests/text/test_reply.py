"""Telling apart what a reply says, thinks and calls, in the formats of the model families."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.step import ReplyFormat
from engine.text.calls import CALL_FORMATS
from engine.text.reply import ReplyParser, reply_format, reply_marks
from engine.types import Channel, ReplyPart

TEMPLATES = Path(__file__).parent / "templates"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    },
    {"type": "function", "function": {"name": "time"}},
]
THINK = ("<think>", "</think>")

# format -> a reply as its makers publish it: text, thinking, content, calls
REPLIES: dict[str, tuple[str, str, str, list[tuple[str, Any]]]] = {
    "hermes": (
        "<think>\nYou want\n\nthe weather.\n</think>\n\nI will look.\n"
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo \\"up\\"", "days": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>',
        "You want\n\nthe weather.",
        "I will look.",
        [("weather", {"city": 'Oslo "up"', "days": 2}), ("time", {})],
    ),
    "qwen-coder": (
        "Look.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n"
        "</parameter>\n<parameter=note>\n  two\n  lines\n</parameter>\n</function>\n</tool_call>",
        "",
        "Look.",
        [("weather", {"city": "12", "days": 3, "note": "  two\n  lines"})],
    ),
    "glm": (
        "\n<think>Hm.</think>\nLook.\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>"
        "\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>time\n</tool_call>",
        "Hm.",
        "Look.",
        [("weather", {"city": "Oslo", "days": 2}), ("time", {})],
    ),
    "mistral": (
        '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}, "id": "abcdefghi"},'
        ' {"name": "time", "arguments": {}, "id": "123456789"}]',
        "",
        "",
        [("weather", {"city": "Oslo"}), ("time", {})],
    ),
    "mistral since 2025": (
        '[THINK]Hm.[/THINK]Look.[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]time[CALL_ID]x1[ARGS]{}',
        "Hm.",
        "Look.",
        [("weather", {"city": "Oslo"}), ("time", {})],
    ),
    "deepseek": (
        "Hm.\n</think>\n\nLook.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n"
        '```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Hm.",
        "Look.",
        [("weather", {"city": "Oslo"}), ("time", {})],
    ),
    "kimi": (
        "Look.<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>',
        "",
        "Look.",
        [("weather", {"city": "Oslo"})],
    ),
    "command-r": (
        '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[{"tool_call_id": "0", "tool_name": "weather",'
        ' "parameters": {"city": "Oslo"}}\n]<|END_ACTION|>',
        "Hm.",
        "",
        [("weather", {"city": "Oslo"})],
    ),
    "granite": (
        '<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]',
        "",
        "",
        [("weather", {"city": "Oslo"})],
    ),
    "llama": (
        '{"name": "weather", "parameters": {"city": "Oslo"}}; {"name": "time", "parameters": {}}',
        "",
        "",
        [("weather", {"city": "Oslo"}), ("time", {})],
    ),
    "harmony": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Look.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
        '{"city": "Oslo"}<|call|>',
        "Hm.",
        "Look.",
        [("weather", {"city": "Oslo"})],
    ),
    "harmony, recipient first": (
        '<|start|>assistant to=functions.time<|channel|>commentary<|message|>{"a": [{"b": "}"}]}<|call|>',
        "",
        "",
        [("time", {"a": [{"b": "}"}]})],
    ),
}
REASONING = {
    "mistral": ("[THINK]", "[/THINK]"),
    "command-r": ("<|START_THINKING|>", "<|END_THINKING|>"),
}


def _parser(
    name: str, *, as_tokens: bool, tools: list[dict[str, Any]] | None = None, ending: str = ""
) -> Any:
    calls = name.split(" ")[0].rstrip(",")
    known = ReplyFormat(REASONING.get(calls, THINK), calls)
    tokens = dict(enumerate(reply_marks(known))) if as_tokens else {}
    return ReplyParser(known, tokens=tokens, tools=TOOLS if tools is None else tools, ending=ending)


def _feed(parser: ReplyParser, text: str, cuts: Iterable[int] = ()) -> list[ReplyPart]:
    """All parts of a reply that comes in pieces, marks that are tokens by themselves."""
    edges = {0, len(text), *(cut for cut in cuts if cut < len(text))}
    marks: dict[int, tuple[int, str]] = {}
    for token, mark in parser.tokens.items():
        at = text.find(mark)
        while at >= 0:
            marks[at] = (token, mark)
            edges = {edge for edge in edges if not at < edge < at + len(mark)} | {at, at + len(mark)}
            at = text.find(mark, at + len(mark))
    ordered = sorted(edges)
    parts: list[ReplyPart] = []
    for start, end in pairwise(ordered):
        found = marks.get(start)
        parts += parser.mark(found[1]) if found is not None else parser.feed(text[start:end])
    return [*parts, *parser.flush()]


def _joined(parts: list[ReplyPart]) -> tuple[str, str, list[tuple[str, str]]]:
    """Thinking, content, and the calls with their arguments as text."""
    thought = "".join(part.text for part in parts if part.channel is Channel.REASONING)
    content = "".join(part.text for part in parts if part.channel is Channel.CONTENT)
    calls: list[tuple[str, str]] = []
    for part in parts:
        if part.channel is Channel.TOOL_CALL:
            assert part.call is not None
            if part.name:
                assert part.call == len(calls)
                calls.append((part.name, ""))
            name, arguments = calls[part.call]
            calls[part.call] = (name, arguments + part.text)
    return thought, content, calls


@pytest.mark.parametrize("as_tokens", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("name", REPLIES)
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 300), max_size=30))
def test_a_reply_falls_into_its_parts_however_it_is_cut(name: str, as_tokens: bool, cuts: list[int]) -> None:
    text, thought, content, calls = REPLIES[name]
    ending = "<｜Assistant｜><think>\n" if name == "deepseek" else ""
    parser = _parser(name, as_tokens=as_tokens, ending=ending)
    parts = _joined(_feed(parser, text, cuts))
    assert parts[:2] == (thought, content)
    assert [(called, json.loads(arguments)) for called, arguments in parts[2]] == calls


@pytest.mark.parametrize("name", REPLIES)
def test_arguments_stream(name: str) -> None:
    text, *_ = REPLIES[name]
    ending = "<think>" if name == "deepseek" else ""
    parts = _feed(_parser(name, as_tokens=True, ending=ending), text, range(len(text)))
    first = [part for part in parts if part.call == 0]
    assert first[0].name, "the name comes first"
    assert len(first) > 2, "then the arguments in pieces"


@pytest.mark.parametrize("name", REPLIES)
def test_without_tools_a_call_is_what_the_model_wrote(name: str) -> None:
    text, *_ = REPLIES[name]
    parts = _feed(_parser(name, as_tokens=False, tools=[]), text, range(0, len(text), 7))
    assert not [part for part in parts if part.channel is Channel.TOOL_CALL]
    content = _joined(parts)[1]
    assert any(text in content for text in ("weather", "time", "Oslo", '"b"'))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", "Look: <tool_call>\nnot JSON at all\n</tool_call> and on"),
        ("hermes", '<tool_call>{"arguments": {"city": "Oslo"}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "weather"'[:14]),
        ("qwen-coder", "<tool_call>weather(Oslo)</tool_call>"),
        ("llama", '{"a": 1, "b": [2, "}"]}'),
        ("llama", '{"name": "Ada", "parameters": {}} is a person'),
        ("deepseek", "<｜tool▁call▁begin｜>" + "x" * 400),
        ("mistral", "[TOOL_CALLS]nothing"),
    ],
)
def test_what_follows_no_format_is_content(name: str, text: str) -> None:
    for cuts in ((), range(len(text))):
        parts = _joined(_feed(_parser(name, as_tokens=False), text, cuts))
        assert parts == ("", text, [])


def test_arguments_that_are_no_json_come_as_the_model_wrote_them() -> None:
    text = '<tool_call>{"name": "weather", "arguments": {"city": Oslo</tool_call> Sorry.'
    _, content, calls = _joined(_feed(_parser("hermes", as_tokens=True), text, range(len(text))))
    assert calls == [("weather", '{"city": Oslo\n')] or calls == [("weather", '{"city": Oslo')]
    assert content == "Sorry."


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("hermes", '<tool_call>{"name": "time", "arguments": ', ""),
        ("hermes", '<tool_call>{"name": "weather", "arguments": {"city": "Os', '{"city": "Os'),
        (
            "qwen-coder",
            "<tool_call><function=weather><parameter=city>\nOslo\n</parameter>",
            '{"city": "Oslo"',
        ),
        ("glm", "<tool_call>weather\n<arg_key>a</arg_key><arg_value>Oslo</arg_value>", '{"a": "Oslo"'),
    ],
)
def test_a_call_that_the_reply_ends_in_stays_incomplete(name: str, text: str, arguments: str) -> None:
    ((_, found),) = _joined(_feed(_parser(name, as_tokens=False), text, range(len(text))))[2]
    assert found == arguments
    with pytest.raises(json.JSONDecodeError):
        json.loads(found)


def test_a_call_in_the_middle_of_thinking_leaves_the_rest_thinking() -> None:
    text = '<think>Hm.<tool_call>{"name": "time"}</tool_call>Still.</think>Done.'
    thought, content, calls = _joined(_feed(_parser("hermes", as_tokens=True), text))
    assert (thought, content, calls) == ("Hm.Still.", "Done.", [("time", "{}")])


def test_names_may_stand_on_the_line_of_the_first_argument() -> None:
    text = "<tool_call>weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>"
    for cuts in ((), range(len(text))):
        _, _, calls = _joined(_feed(_parser("glm", as_tokens=False), text, cuts))
        assert calls == [("weather", '{"city": "Oslo"}')]


def test_values_are_json_whatever_the_model_writes() -> None:
    values = {"a": "NaN", "b": "Infinity", "c": "12", "d": "1e999", "note": "7"}
    tags = "".join(f"<parameter={key}>\n{value}\n</parameter>" for key, value in values.items())
    text = f"<tool_call><function=time>{tags}</function></tool_call>"
    _, _, calls = _joined(_feed(_parser("qwen-coder", as_tokens=False), text))
    assert json.loads(calls[0][1]) == {"a": "NaN", "b": "Infinity", "c": 12, "d": "1e999", "note": 7}
    text = '<tool_call>{"name": "a\\ud800b", "arguments": {}}</tool_call>'
    assert _joined(_feed(_parser("hermes", as_tokens=False), text))[2] == [("a?b", "{}")]
    deep = "<tool_call>" + '{"function": ' * 5_000
    assert _joined(_feed(_parser("hermes", as_tokens=False), deep)) == ("", deep, [])


@pytest.mark.parametrize("as_tokens", [True, False], ids=["tokens", "text"])
def test_an_answer_cut_short_in_its_thinking_is_thinking(as_tokens: bool) -> None:
    parts = _feed(_parser("hermes", as_tokens=as_tokens), "<think>\nWell, let me see </thi")
    assert _joined(parts) == ("Well, let me see </thi", "", [])


def test_a_template_may_open_or_close_the_thinking_itself() -> None:
    opened = _parser("hermes", as_tokens=True, ending="<|im_start|>assistant\n<think>\n")
    assert _joined(_feed(opened, "So.\n</think>\n\nYes.")) == ("So.", "Yes.", [])
    closed = _parser("hermes", as_tokens=True, ending="<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert _joined(_feed(closed, "Yes.")) == ("", "Yes.", [])


def test_a_mark_that_is_a_token_is_none_when_it_is_spelled() -> None:
    parser = _parser("hermes", as_tokens=True)
    spelled = [*parser.feed("<th"), *parser.feed("ink> is a tag, </think> ends it"), *parser.flush()]
    assert _joined(spelled) == ("", "<think> is a tag, </think> ends it", [])


def test_a_mark_in_text_counts_only_where_the_reply_begins() -> None:
    text = "The tag <think> opens it."
    assert _joined(_feed(_parser("hermes", as_tokens=False), text, range(len(text)))) == ("", text, [])


@pytest.mark.parametrize("text", ["Use <think> and </think> tags.", "a </think> b", "So: <think>x</think> y"])
@pytest.mark.parametrize("cuts", [(), range(60)], ids=["at once", "characters"])
def test_marks_behind_a_text_are_part_of_it(text: str, cuts: Iterable[int]) -> None:
    assert _joined(_feed(_parser("hermes", as_tokens=False), text, cuts)) == ("", text, [])


def test_the_end_of_a_call_within_an_argument_is_part_of_it() -> None:
    arguments = '{"city": "a</tool_call>b<tool_call>"}'
    text = f'<tool_call>{{"name": "weather", "arguments": {arguments}}}</tool_call> Done.'
    assert _joined(_feed(_parser("hermes", as_tokens=False), text)) == ("", "Done.", [("weather", arguments)])
    value = "<parameter=city>\n</tool_call>\n</parameter>"
    text = f"<tool_call><function=weather>{value}</function></tool_call> Done."
    _, content, calls = _joined(_feed(_parser("qwen-coder", as_tokens=False), text))
    assert (content, json.loads(calls[0][1])) == ("Done.", {"city": "</tool_call>"})


@pytest.mark.parametrize("as_tokens", [True, False], ids=["tokens", "text"])
def test_a_prompt_of_gpt_oss_may_begin_the_thinking(as_tokens: bool) -> None:
    reply = "Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    for ending in ("<|start|>assistant<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>"):
        said = reply if ending.endswith("<|message|>") else f"analysis<|message|>{reply}"
        parser = _parser("harmony", as_tokens=as_tokens, ending=f"<|start|>user<|message|>hi<|end|>{ending}")
        assert _joined(_feed(parser, said)) == ("Hm.", "Yes.", [])


def test_content_keeps_its_blanks() -> None:
    text = "  Well.\n\n\tYes. \n"
    assert _joined(_feed(_parser("hermes", as_tokens=True), text, range(len(text)))) == ("", text, [])


@pytest.mark.parametrize("name", CALL_FORMATS)
@settings(max_examples=25)
@given(text=st.text(alphabet='<>{}[]"\\:,ntofuc=|_al \n/te', max_size=60))
def test_whatever_a_model_writes_ends_in_parts(name: str, text: str) -> None:
    opening = CALL_FORMATS[name].opening
    parts = _feed(_parser(name, as_tokens=False), opening + text, range(len(text)))
    assert _joined(parts)


def test_formats_of_published_templates() -> None:
    formats = {path.stem: reply_format(path.read_text("utf-8")) for path in TEMPLATES.glob("*.jinja")}
    assert {name: (known.calls, bool(known.reasoning)) for name, known in formats.items()} == {
        "deepseek-r1": ("deepseek", True),
        "gemma-2": ("", False),
        "glm-4.6": ("glm", True),
        "gpt-oss": ("harmony", True),
        "granite-3.3": ("granite", True),
        "llama-3.1": ("llama", False),
        "mistral-nemo": ("mistral", False),
        "phi-3.5": ("", False),
        "qwen3": ("hermes", True),
        "smollm3": ("", True),
    }


def test_what_is_known_about_a_model_goes_before_its_template() -> None:
    template = (TEMPLATES / "qwen3.jinja").read_text("utf-8")
    assert reply_format(template, reasoning=("<a>", "</a>"), calls="") == ReplyFormat(("<a>", "</a>"), "")
    with pytest.raises(ConfigError, match=r"tool_format must be one of harmony, .*, not 'qwen'\."):
        reply_format(template, calls="qwen")
