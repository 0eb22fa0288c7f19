"""Tells apart what a reply says, what it thinks and which tools it calls.

Models mark these with texts such as `<think>`. Where the vocabulary has a token for a mark, only that token
is one: a reply that merely writes about `<think>` stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine.errors import ConfigError
from engine.step import ReplyFormat
from engine.text.calls import CALL_FORMATS, CallPart, CallReader, harmony
from engine.types import Channel, ReplyPart

__all__ = ["ReplyParser", "reply_format", "reply_marks"]

# Marks of the published reasoning models, in the order in which they are looked for.
_REASONING = (
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
)
_HEAD_MARKS = ("<|start|>", "<|channel|>", "<|constrain|>")  # harmony: what makes up the head of a message,
_MESSAGE = "<|message|>"  # what ends the head,
_MESSAGE_ENDS = ("<|end|>", "<|call|>", "<|return|>")  # and what ends the message


def reply_format(
    template: str, *, reasoning: tuple[str, str] | None = None, calls: str | None = None
) -> ReplyFormat:
    """The format of a model's replies, read off its chat template.

    Args:
        template: the Jinja source.
        reasoning, calls: what is known about the model; in place of what the template tells.

    Raises:
        ConfigError: there is no such format of calls.
    """
    if calls and calls not in CALL_FORMATS:
        raise ConfigError(f"tool_format must be one of {', '.join(CALL_FORMATS)}, not {calls!r}.")
    if calls is None:
        found = (name for name, known in CALL_FORMATS.items() if all(e in template for e in known.evidence))
        calls = next(found, "")
    if reasoning is None and calls == "harmony":
        reasoning = _REASONING[0]
    elif reasoning is None:
        reasoning = next((marks for marks in _REASONING[1:] if marks[1] in template), None)
    return ReplyFormat(reasoning, calls)


def reply_marks(known: ReplyFormat) -> list[str]:
    """The texts that mark parts in replies of this format."""
    if known.calls == "harmony":
        return [*_HEAD_MARKS, _MESSAGE, *_MESSAGE_ENDS]
    marks = [*(known.reasoning or ())]
    if (calls := CALL_FORMATS.get(known.calls)) is not None:
        marks += ["" if calls.bare else calls.opening, calls.closing, *calls.around, *calls.inside]
    return [mark for mark in marks if mark]


class ReplyParser:
    """Splits one reply while it arrives.

    Thinking that is never closed is thinking to the end. A call that follows no format is content, as the
    model wrote it. Blanks between the parts belong to none.

    Args:
        known: the format.
        tokens: the marks that are tokens of the vocabulary, by token; the others are found in the text.
        tools: what the model may call; without tools a call is content.
        ending: the end of the prompt; some templates open the thinking themselves.
    """

    def __init__(
        self,
        known: ReplyFormat,
        *,
        tokens: Mapping[int, str] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        ending: str = "",
    ) -> None:
        self.tokens = tokens or {}
        self._tools = tools
        self._opening, self._closing = known.reasoning or ("", "")
        self._calls = CALL_FORMATS.get(known.calls)
        self._spelled = [mark for mark in reply_marks(known) if mark not in self.tokens.values()]
        if self._calls is not None and self._calls.bare:
            self._spelled.append(self._calls.opening)
        self._channel = Channel.CONTENT
        self._reader: CallReader | None = None
        self._head: str | None = None  # of a message in harmony, while it is read
        self._harmony = known.calls == "harmony"
        self._count = 0  # calls
        self._buffer = ""  # text that may become a mark
        self._blank = ""  # white space that may be at the end of a part
        self._around = Channel.CONTENT  # the part in which a block of calls stands
        self._before = ""  # white space before a block of calls, which is text if they turn out to be none
        self._fresh = False  # a part has just begun: white space is not part of it
        self._said = False  # anything but white space
        self._act: Callable[[str, bool], Iterator[ReplyPart]]
        self._act = self._act_harmony if self._harmony else self._switch
        if self._harmony:
            self._open_harmony(ending.rpartition("<|start|>")[2])
        elif self._opening and ending.rstrip().endswith(self._opening):
            self._enter(Channel.REASONING)

    def feed(self, text: str) -> Iterator[ReplyPart]:
        """The parts that are certain after this text."""
        self._buffer += text
        while (found := self._find()) is not None:
            at, mark = found
            before, self._buffer = self._buffer[:at], self._buffer[at:]
            yield from self._say(before)
            if before.strip():
                continue  # it may be no mark behind a text
            self._buffer = self._buffer[len(mark) :]
            yield from self._act(mark, False)
        held = self._held()
        certain, self._buffer = self._buffer[: len(self._buffer) - held], self._buffer[-held:] if held else ""
        yield from self._say(certain)

    def mark(self, mark: str) -> Iterator[ReplyPart]:
        """The parts that are certain after a token that is a mark."""
        text, self._buffer = self._buffer, ""
        yield from self._say(text)
        yield from self._act(mark, True)

    def flush(self) -> Iterator[ReplyPart]:
        """The rest, when the reply ends."""
        text, self._buffer = self._buffer, ""
        yield from self._say(text)
        if self._reader is not None:
            yield from self._called(self._reader.close(complete=False))
        elif self._channel is Channel.CONTENT and self._blank and not self._fresh:
            yield ReplyPart(self._blank)
        self._blank = ""

    # Marks

    def _find(self) -> tuple[int, str] | None:
        """The first mark in the buffer and its place, the longest where several begin."""
        found = [(at, -len(mark), mark) for mark in self._wanted() if (at := self._buffer.find(mark)) >= 0]
        if not found:
            return None
        at, _, mark = min(found)
        return at, mark

    def _wanted(self) -> list[str]:
        """The marks that mean something here."""
        if self._harmony:
            return self._spelled
        if self._reader is not None:
            calls = self._calls
            wanted = [calls.closing, "" if calls.bare else calls.opening] if calls is not None else []
        elif self._channel is Channel.REASONING:
            wanted = [self._closing]
        else:
            wanted = [mark for mark in self._spelled if mark != self._closing]  # which closes nothing
            if self._said:  # further down it is spoken of
                wanted = [mark for mark in wanted if mark != self._opening]
            if self._calls is not None and (not self._tools or (self._calls.bare and self._said)):
                wanted = [mark for mark in wanted if mark != self._calls.opening]
        return [mark for mark in wanted if mark and mark in self._spelled]

    def _held(self) -> int:
        """Length of the longest end of the buffer that may begin a mark."""
        wanted = self._wanted()
        longest = max((len(mark) for mark in wanted), default=1) - 1
        for length in range(min(longest, len(self._buffer)), 0, -1):
            end = self._buffer[-length:]
            if any(mark.startswith(end) for mark in wanted):
                return length
        return 0

    def _switch(self, mark: str, token: bool) -> Iterator[ReplyPart]:
        """What a mark does; a mark that is not a token of its own is text within a value of a call."""
        calls = self._calls
        if self._reader is not None and self._reader.inside and not token:
            yield from self._say(mark)
        elif (
            calls is not None and mark == calls.opening and self._tools and not (calls.bare and self._reader)
        ):
            yield from self._end_calls("")
            opening = "" if calls.bare else mark
            self._begin_calls(CallReader(calls.steps, opening=opening, tools=self._tools, known=calls.bare))
            if calls.bare:
                yield from self._say(mark)
        elif self._reader is not None:
            if calls is not None and mark == calls.closing:
                yield from self._end_calls(mark)
            else:
                yield from self._say(mark)
        elif mark == self._opening:
            self._enter(Channel.REASONING)
        elif mark == self._closing:
            self._enter(Channel.CONTENT)
        elif calls is None or mark not in calls.around:
            yield from self._say(mark)

    def _open_harmony(self, said: str) -> None:
        """Take over the message that the prompt has begun, if that has got as far as its channel."""
        if "<|channel|>" not in said:
            return
        marks = "|".join(map(re.escape, (*_HEAD_MARKS, _MESSAGE, *_MESSAGE_ENDS)))
        for piece in re.split(f"({marks})", said):
            for _ in self._act(piece, True) if re.fullmatch(marks, piece) else self._say(piece):
                pass  # it is in the prompt

    def _act_harmony(self, mark: str, token: bool) -> Iterator[ReplyPart]:
        """What a mark of gpt-oss does: a message has a head, which names its channel and its recipient."""
        if mark in _HEAD_MARKS:
            yield from self._end_calls("")
            self._head = f"{self._head or ''} "
        elif mark == _MESSAGE:
            head, self._head = self._head or "", None
            to = re.search(r"\bto=(?:functions\.)?([\w.-]+)", head)
            if to is not None and self._tools:
                self._begin_calls(CallReader(harmony(to[1]), tools=self._tools))
            else:
                self._enter(Channel.REASONING if "analysis" in head else Channel.CONTENT)
        elif self._head is None:
            yield from self._end_calls("")
            self._enter(Channel.CONTENT)

    # Parts

    def _enter(self, channel: Channel) -> None:
        self._channel, self._fresh, self._blank = channel, True, ""

    def _begin_calls(self, reader: CallReader) -> None:
        before, self._around = self._blank, self._channel
        self._enter(Channel.TOOL_CALL)
        self._reader, self._before = reader, before

    def _end_calls(self, mark: str) -> Iterator[ReplyPart]:
        """End a block; a mark that closed no call is text."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        yield from self._called(reader.close())
        self._enter(self._around)
        if reader.is_text:
            self._fresh = False
            yield from self._say(mark)

    def _say(self, text: str) -> Iterator[ReplyPart]:
        """Text of the part that is under way."""
        if self._head is not None:
            self._head += text
        elif self._reader is not None:
            yield from self._called(self._reader.feed(text))
        else:
            if self._fresh:
                text = text.lstrip()
            if not text:
                return
            self._fresh = False
            text = self._blank + text
            shown = text.rstrip()
            self._blank = text[len(shown) :]
            if shown:
                self._said = True
                yield ReplyPart(shown, self._channel)

    def _called(self, parts: Sequence[CallPart | str]) -> Iterator[ReplyPart]:
        for part in parts:
            if isinstance(part, str):
                before, self._before = self._before, ""
                self._said = True
                yield ReplyPart(before + part)
                continue
            self._count += bool(part.name)
            yield ReplyPart(
                part.arguments,
                Channel.TOOL_CALL,
                call=self._count - 1,
                name=part.name,
                call_id=part.call_id,
            )
