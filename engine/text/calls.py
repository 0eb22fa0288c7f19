"""Calls of tools in a reply: the formats of the model families, and reading one while it arrives.

A model writes a call as text of its own family's kind. `CallReader` gives its name as soon as it is known and
its arguments as they come, as JSON in every format. What turns out to be no call is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["CALL_FORMATS", "CallFormat", "CallPart", "CallReader", "harmony"]

_BLANK = " \t\r\n"
_FRAME = f"{_BLANK},;[]`"  # around calls
_LONGEST_NAME = 300  # characters; a longer head is no call
_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_IDS = ("id", "tool_call_id")

Steps: TypeAlias = Generator[None, str, None]  # is sent one character at a time
Reading: TypeAlias = Generator[None, str, str]  # … and returns what it has read


class _Malformed(Exception):
    """This is no call."""


@dataclass(frozen=True, slots=True)
class CallPart:
    """What is new of a call: its name first, then its arguments piece by piece, JSON all together."""

    name: str = ""
    arguments: str = ""
    call_id: str = ""


class CallReader:
    """Reads the calls of one block.

    Args:
        steps: reads the format; is sent the block character by character.
        opening: the mark that began the block; part of the text if it is no call.
        tools: those that the model was told of, as in `GenerationRequest.tools`.
        known: whether a call must name one of them.
    """

    def __init__(
        self,
        steps: Callable[[CallReader], Steps],
        *,
        opening: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
        known: bool = False,
    ) -> None:
        functions = [tool.get("function", tool) for tool in tools]
        self._schemas = {function.get("name"): function.get("parameters") for function in functions}
        self._known = known
        self._opening = opening
        self._raw = [opening]  # since the last call
        self._named = False  # the call that is being read
        self._complete = 0  # calls
        self._waiting: list[str] = []  # arguments that came before the name
        self._arguments: list[str] = []
        self._any = False  # of this call's arguments has come
        self._end = ""  # what its arguments lack when the block ends
        self._out: list[CallPart | str] = []
        self.broken = False
        self.inside = False  # a value, in which the mark that ends the block is text
        self._steps = steps(self)
        next(self._steps)

    def feed(self, text: str) -> list[CallPart | str]:
        """Read more of the block. Returns parts of calls, and text that belongs to none."""
        for at, char in enumerate(text):
            if self.broken:
                self._pass_on(text[at:])
                break
            self._raw.append(char)
            self._send(char)
        return self._taken()

    def close(self, *, complete: bool = True) -> list[CallPart | str]:
        """The block has ended.

        Args:
            complete: by its closing mark. Else the reply has ended in the middle of it, and the arguments
                stay as incomplete as they are: nobody must act on them.
        """
        said = "".join(self._raw)
        if not self.broken and complete and not self._named:
            self._send("\n")  # some names end with the line
        if not self.broken and self._named:
            if complete:
                self._argument(self._end if self._any else "{}")
        elif not self.broken and said.removeprefix(self._opening).strip(_FRAME):
            self._raw = [said]
            self._break()
        self._steps.close()
        return self._taken()

    def _send(self, char: str) -> None:
        try:
            self._steps.send(char)
        except (_Malformed, RecursionError):
            self._break()

    def _taken(self) -> list[CallPart | str]:
        self._flush()
        out, self._out = self._out, []
        return out

    @property
    def is_text(self) -> bool:
        """Whether the block turned out to hold no call."""
        return self.broken and not self._named and not self._complete

    # What the formats tell

    def name(self, name: str) -> None:
        """The name of a call is known."""
        name = name.strip()
        if self._named or not name or (self._known and name not in self._schemas):
            raise _Malformed
        self._named = True
        self._raw = []
        self._out.append(CallPart(name=name))
        waiting, self._waiting = self._waiting, []
        for text in waiting:
            self.argument(text)

    def call_id(self, call_id: str) -> None:
        """Its id is known."""
        if self._named:
            self._flush()
            self._out.append(CallPart(call_id=call_id))

    def argument(self, text: str) -> None:
        """More of its arguments, as JSON."""
        (self._argument if self._named else self._waiting.append)(text)

    def lacks(self, end: str) -> None:
        """What completes the arguments if the block ends here."""
        self._end = end

    def end_call(self) -> None:
        """A call is complete."""
        if not self._named:
            raise _Malformed
        if not self._any:
            self._argument("{}")
        self._flush()
        self._named = self._any = False
        self._raw, self._end = [], ""
        self._complete += 1

    def value(self, call: str, key: str, text: str) -> str:
        """The text of an argument as JSON: a string where the schema wants one or it is nothing else."""
        schema = self._schemas.get(call)
        properties = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        wanted = properties.get(key) if isinstance(properties, Mapping) else None
        kind = wanted.get("type") if isinstance(wanted, Mapping) else None
        if kind != "string" and not (isinstance(kind, list) and "string" in kind):
            with suppress(ValueError, RecursionError):
                value = json.loads(text, parse_constant=_no_json)
                return json.dumps(value, ensure_ascii=False, allow_nan=False)  # 1e999 is infinite
        return json.dumps(text, ensure_ascii=False)

    def _argument(self, text: str) -> None:
        self._any = self._any or bool(text)
        self._arguments.append(text)

    def _flush(self) -> None:
        if arguments := "".join(self._arguments):
            self._out.append(CallPart(arguments=arguments))
        self._arguments = []

    def _break(self) -> None:
        """What comes now follows no format."""
        self.broken, self.inside = True, False
        self._pass_on("".join(self._raw))

    def _pass_on(self, text: str) -> None:
        """The arguments of a call that has a name are what the model wrote; anything else is text."""
        if self._named:
            self._argument(text)
        elif text:
            self._flush()
            self._out.append(text)


def _no_json(constant: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(constant)


# Reading characters


def _skip(blanks: str, char: str = "") -> Reading:
    """The next character that is none of these; the first to look at, if it was read already."""
    while not char or char in blanks:
        char = yield
    return char


def _until(end: str, limit: int = 0) -> Reading:
    """The text before `end`, which is read, too."""
    text = ""
    while not text.endswith(end):
        if limit and len(text) > limit:
            raise _Malformed
        text += yield
    return text[: -len(end)]


def _string() -> Reading:
    """A JSON string whose opening quote was read."""
    raw: list[str] = []
    while (char := (yield)) != '"':
        raw.append(char)
        if char == "\\":
            raw.append((yield))
    return _decoded("".join(raw))


def _decoded(raw: str) -> str:
    try:
        text = str(json.loads(f'"{raw}"', strict=False))
        return text.encode("utf-8", "replace").decode()  # without lone surrogates
    except ValueError:
        raise _Malformed from None


def _value(reader: CallReader, char: str, sink: Callable[[str], None]) -> Reading:
    """Pass a JSON value on, character by character. Returns the character behind a number or a word."""
    if char not in '"{[':
        while char not in f",]}}{_BLANK}":
            sink(char)
            char = yield
        return char
    depth, quoted = 0, False
    while True:
        sink(char)
        if char == "\\" and quoted:
            sink((yield))
        elif char == '"':
            reader.inside = quoted = not quoted
        elif not quoted:
            depth += (char in "{[") - (char in "}]")
        if depth == 0 and not quoted:
            return ""
        char = yield


# Formats


def _json(reader: CallReader) -> Steps:
    """Objects with a name and arguments, one after the other or in a list."""
    while True:
        if (yield from _skip(_FRAME)) != "{":
            raise _Malformed
        yield from _json_call(reader)
        reader.end_call()


def _json_call(reader: CallReader) -> Steps:
    char = ""
    while (char := (yield from _skip(f"{_BLANK},", char))) != "}":
        if char != '"':
            raise _Malformed
        key = yield from _string()
        if (yield from _skip(_BLANK)) != ":":
            raise _Malformed
        char = yield from _json_member(reader, key, (yield from _skip(_BLANK)))


def _json_member(reader: CallReader, key: str, char: str) -> Reading:
    if key in _NAMES and char == '"':
        reader.name((yield from _string()))
    elif key in _IDS and char == '"':
        reader.call_id((yield from _string()))
    elif key in _ARGUMENTS and char == '"':  # an object in a string
        reader.argument((yield from _string()))
    elif key == "function" and char == "{":
        yield from _json_call(reader)
    else:
        return (yield from _value(reader, char, reader.argument if key in _ARGUMENTS else lambda _: None))
    return ""


def _headed(separator: str) -> Callable[[CallReader], Steps]:
    """The name, a separator, and the arguments as a JSON object."""

    def read(reader: CallReader) -> Steps:
        head = yield from _until(separator, _LONGEST_NAME)
        if head.strip() == "function":  # DeepSeek R1: its kind, then the name, then a code block
            head = yield from _until("\n", _LONGEST_NAME)
        yield from _named(reader, head)

    return read


def _named(reader: CallReader, head: str) -> Steps:
    """The arguments of a call whose name was read, as a JSON object."""
    found = re.fullmatch(r"\s*(?:functions\.)?(?P<name>.+?)(?::\d+)?(?:\[CALL_ID\](?P<id>\w+))?\s*", head)
    if found is None:
        raise _Malformed
    reader.name(found["name"])
    if found["id"]:
        reader.call_id(found["id"])
    char = yield from _skip(f"{_BLANK}`json")
    if char != "{":
        raise _Malformed
    yield from _value(reader, char, reader.argument)
    reader.end_call()
    yield from _until("\0")  # the end of a code block


def _mistral(reader: CallReader) -> Steps:
    """A list of objects; since 2025 the name, a separator and the arguments."""
    first = yield from _skip(_BLANK)
    if first == "{":
        yield from _json_call(reader)
        reader.end_call()
    elif first != "[":
        head = yield from _until("[ARGS]", _LONGEST_NAME)
        yield from _named(reader, first + head)
    yield from _json(reader)


def harmony(name: str) -> Callable[[CallReader], Steps]:
    """A message to a function whose name stood in its head (gpt-oss)."""

    def read(reader: CallReader) -> Steps:
        reader.name(name)
        yield from _value(reader, (yield from _skip(_BLANK)), reader.argument)
        reader.end_call()
        yield from _until("\0")

    return read


def _qwen_coder(reader: CallReader) -> Steps:
    """`<function=name>`, then `<parameter=key>` with the value between two lines for each argument."""
    if (yield from _until("<function=", _LONGEST_NAME)).strip():
        raise _Malformed
    name = yield from _until(">", _LONGEST_NAME)
    reader.name(name)
    yield from _arguments(reader, name.strip(), ("<parameter=", ">", "</parameter>", "</function>"))
    reader.end_call()
    yield from _until("\0")


def _glm(reader: CallReader) -> Steps:
    """The name, then `<arg_key>` and `<arg_value>` for each argument."""
    name = ""
    while (char := (yield)) not in "\n<":
        name += char
        if len(name) > _LONGEST_NAME:
            raise _Malformed
    reader.name(name)
    tags = ("<arg_key>", "</arg_key>", "</arg_value>", "\0")
    yield from _arguments(reader, name.strip(), tags, char)


def _arguments(reader: CallReader, name: str, tags: tuple[str, str, str, str], text: str = "") -> Steps:
    """Arguments in tags (before the key, behind it, behind the value, behind all), made one JSON object.

    Args:
        text: the start, if it was read already.
    """
    opening, behind, closing, end = tags
    reader.argument("{")
    reader.lacks("}")
    comma = ""
    while True:
        while not text.endswith((opening, end)):
            text += yield
        if text.endswith(end):
            break
        text = ""
        key = (yield from _until(behind, _LONGEST_NAME)).strip()
        reader.inside = True
        text = yield from _until(closing)
        reader.inside = False
        value = text.removeprefix("\n").removeprefix("<arg_value>").removesuffix("\n")
        text = ""
        reader.argument(f"{comma}{json.dumps(key)}: {reader.value(name, key, value)}")
        comma = ", "
    reader.argument("}")


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a family of models writes calls.

    Args:
        opening, closing: marks around a block of calls; without a closing one it goes to the reply's end.
        steps: reads a block.
        evidence: what a chat template of this family contains.
        around: marks that stand around blocks and are part of nothing.
        inside: marks that may stand in a block.
        bare: the opening is part of the call and counts only where the content begins; such a call must name
            a tool that the model was told of.
    """

    opening: str
    closing: str
    steps: Callable[[CallReader], Steps]
    evidence: tuple[str, ...]
    around: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    bare: bool = False


# In the order in which they are looked for: the first whose evidence a template has is its own.
CALL_FORMATS: dict[str, CallFormat] = {
    "harmony": CallFormat("", "", _json, ("<|channel|>", "<|message|>")),
    "qwen-coder": CallFormat("<tool_call>", "</tool_call>", _qwen_coder, ("<tool_call>", "<function=")),
    "glm": CallFormat(
        "<tool_call>",
        "</tool_call>",
        _glm,
        ("<tool_call>", "<arg_key>"),
        inside=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    "hermes": CallFormat("<tool_call>", "</tool_call>", _json, ("<tool_call>",)),
    "mistral": CallFormat("[TOOL_CALLS]", "", _mistral, ("[TOOL_CALLS]",), inside=("[ARGS]", "[CALL_ID]")),
    "deepseek": CallFormat(
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        _headed("<｜tool▁sep｜>"),
        ("<｜tool▁call▁begin｜>",),
        around=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        inside=("<｜tool▁sep｜>",),
    ),
    "kimi": CallFormat(
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        _headed("<|tool_call_argument_begin|>"),
        ("<|tool_call_begin|>",),
        around=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        inside=("<|tool_call_argument_begin|>",),
    ),
    "command-r": CallFormat(
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        _json,
        ("<|START_ACTION|>",),
        around=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    "granite": CallFormat("<|tool_call|>", "<|/tool_call|>", _json, ("<|tool_call|>",)),
    "llama": CallFormat(
        "{", "", _json, ('{"name": function name, "parameters"',), around=("<|python_tag|>",), bare=True
    ),
}
