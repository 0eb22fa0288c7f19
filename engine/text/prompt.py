"""Chat messages to the tokens of a prompt, in two stages: the chat template renders text, the tokeniser
splits it.

Only what the template writes becomes control tokens, not what a message says (`marks`). A later turn reuses
the tokens of the earlier one, so that its prompt finds them in the KV cache.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from types import MappingProxyType
from typing import Any

from engine.errors import InvalidRequest, PromptTooLong
from engine.step import Backend
from engine.text.marks import MarkedText, SpecialMarks
from engine.text.reply import ReplyParser, reply_marks
from engine.types import ChatMessage, ToolCall

__all__ = ["EncodedPrompt", "PromptEncoder"]

_SESSIONS = 4096  # whose tokens are remembered
_REMEMBERED = 2_000_000  # tokens of all sessions together, in 8 MB
_LONGEST_PIECE = 256  # bytes; no token of a published vocabulary is longer
_OPENING = 64  # tokens that may open the turn of an answer; most templates write three to five
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """The tokens of a prompt.

    Args:
        head_tokens: how many of them spell the system message at the head, which other chats probably
            share; 0 when there is none.
        turn_tokens: how many precede the turn of the answer; 0 when unknown.
        ending: the end of its text.
    """

    tokens: list[int]
    head_tokens: int = 0
    turn_tokens: int = 0
    ending: str = ""


class PromptEncoder:
    """Renders and tokenises prompts; thread-safe.

    A model does not always generate the tokens that its tokeniser would choose for the same text. So the
    encoder remembers the tokens of each session as they lie in the KV cache. Where the text of a new prompt
    begins with theirs, it reuses them and tokenises only the rest. Without this a cached prefix would end
    at the first token that differs.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = Lock()
        self._known: dict[str, array[int]] = {}  # by the time they were remembered, oldest first
        self._remembered = 0  # tokens of all

    def use(self, backend: Backend) -> None:
        """Render and tokenise with another backend, which has the same vocabulary; nobody encodes now."""
        self._backend = backend
        for cached in ("_reply_tokens", "_marks"):  # its settings may name other marks and another template
            self.__dict__.pop(cached, None)

    @cached_property
    def _marks(self) -> SpecialMarks:
        return SpecialMarks(self._backend.special_tokens())

    @cached_property
    def _reply_tokens(self) -> dict[int, str]:
        """The marks of replies that are tokens of the vocabulary."""
        tokens = {}
        for mark in reply_marks(self._backend.info.reply):
            for token in self._backend.tokenize(mark, parse_special=True):
                if self._backend.piece(token, special=True) == mark.encode():
                    tokens[token] = mark
        return tokens

    @cached_property
    def _adds_space(self) -> bool:
        """Whether the tokeniser puts a space in front of a text."""
        tokens = self._backend.tokenize("a")
        return bool(tokens) and self._backend.piece(tokens[0]).startswith(b" ")

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] = _NONE,
    ) -> MarkedText:
        """The text of a prompt, ending where the answer begins.

        Raises:
            TemplateError: the chat template refuses the messages.
            InvalidRequest: tools, arguments or a call are nested too deeply.
        """
        marks = self._marks
        try:
            given = {"tools": _cut(list(tools), marks), "arguments": _cut(dict(arguments), marks)}
        except RecursionError:
            raise InvalidRequest("Tools or template arguments are nested too deeply.") from None
        rendered = self._backend.render([_cut_message(message, marks) for message in messages], **given)
        return marks.mark(rendered)

    def encode(
        self,
        messages: Sequence[ChatMessage],
        session_id: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] = _NONE,
    ) -> EncodedPrompt:
        """Tokens of the rendered messages.

        Raises:
            TemplateError: the chat template refuses the messages.
            PromptTooLong: their text is so long that its tokens need not be counted.
        """
        text = self.render(messages, tools, arguments)
        self._check_length(text.data)
        tokens = self._tokens(text, session_id)
        if len(tokens) >= self._backend.info.context_tokens:
            # A generated text may have more tokens than the tokeniser makes of it, which is what was counted.
            tokens = self._tokens(text, None)
        head = messages[0].content.strip().encode() if messages[0].role == "system" else b""
        at = text.data.find(head) if head else -1
        spelled = 0 if at < 0 else self._spelling(text.data, tokens, at + len(head))
        return EncodedPrompt(tokens, spelled, self._turn(tokens), _ending(text.data))

    def encode_text(self, text: str) -> EncodedPrompt:
        """Tokens of a prompt that is given as text: what spells control tokens becomes them.

        Raises:
            PromptTooLong: see `encode`.
        """
        data = text.encode("utf-8", "replace")
        self._check_length(data)
        tokens = self._backend.tokenize(data.decode(), add_special=True, parse_special=True)
        return EncodedPrompt(tokens, ending=_ending(data))

    def encode_tokens(self, tokens: Sequence[int]) -> EncodedPrompt:
        """A prompt that is given as tokens, which must be in the vocabulary."""
        spelled = b"".join(self._backend.piece(token, special=True) for token in tokens[-_OPENING:])
        return EncodedPrompt([*tokens], ending=_ending(spelled))

    def reply_parser(self, prompt: EncodedPrompt, tools: Sequence[Mapping[str, Any]]) -> ReplyParser:
        """What tells the parts of the reply to a prompt apart."""
        reply = self._backend.info.reply
        return ReplyParser(reply, tokens=self._reply_tokens, tools=tools, ending=prompt.ending)

    def _check_length(self, data: bytes) -> None:
        """Refuse a text before it is tokenised: that takes a second per megabyte and cannot be stopped."""
        cells = self._backend.info.context_tokens
        if len(data) > cells * _LONGEST_PIECE:
            tokens = len(data) // _LONGEST_PIECE
            raise PromptTooLong(tokens + 1, cells, prompt_tokens=tokens)

    def remember(self, session_id: str, tokens: Sequence[int]) -> None:
        """Keep a session's tokens when one of its requests ends."""
        with self._lock:
            self._drop(session_id)
            self._known[session_id] = array("i", tokens)
            self._remembered += len(tokens)
            while self._remembered > _REMEMBERED or len(self._known) > _SESSIONS:
                self._drop(next(iter(self._known)))

    def forget(self, session_id: str) -> None:
        """Drop a session's tokens."""
        with self._lock:
            self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        self._remembered -= len(self._known.pop(session_id, ()))

    def _tokens(self, text: MarkedText, session_id: str | None) -> list[int]:
        with self._lock:
            known = self._known.get(session_id) if session_id is not None else None
        tokens, offset = self._reusable(known or (), text)
        for part in text.parts(offset):
            pieces = part.pieces
            if len(pieces) > 1 and self._adds_space:
                pieces = (" ".join(pieces),)  # or each would get one in front
            for piece in pieces:
                tokens += self._backend.tokenize(piece, add_special=not tokens, parse_special=not part.plain)
        return tokens

    def _reusable(self, known: Sequence[int], text: MarkedText) -> tuple[list[int], int]:
        """The longest run of known tokens that spells the start of the text, and how many bytes it spells.

        It ends where a control token begins or ends: only there do two parts tokenise apart as they do
        together.
        """
        controls = iter(text.controls)
        control = next(controls, None)  # the next one in the text
        offset, safe = 0, (0, 0)
        for index, token in enumerate(known):
            piece = self._backend.piece(token, special=True)
            if self._is_control(token):
                if index == 0 and not text.data.startswith(piece):
                    continue  # a begin token that the tokeniser adds and the template does not print
                if control is None or control.first != offset:
                    break
                safe = (index, offset)
                if control.last != offset + len(piece):
                    break
                control = next(controls, None)
                at_end = True
            else:
                at_end = False
                if control is not None and control.first < offset + len(piece):
                    break
            if not text.data.startswith(piece, offset):
                break
            offset += len(piece)
            if at_end:
                safe = (index + 1, offset)
        else:
            if control is not None and control.first == offset:
                safe = (len(known), offset)
        return list(known[: safe[0]]), safe[1]

    def _spelling(self, data: bytes, tokens: Sequence[int], length: int) -> int:
        """How many tokens at the start of a text lie entirely within its first `length` bytes."""
        first = self._backend.piece(tokens[0], special=True)
        spelled = 0 if data.startswith(first) else -len(first)  # a begin token that the text lacks
        for count, token in enumerate(tokens):
            spelled += len(self._backend.piece(token, special=True))
            if spelled > length:
                return count
        return 0

    def _turn(self, tokens: Sequence[int]) -> int:
        """Tokens up to the last that ends a turn: what follows opens the turn of the answer."""
        end = len(tokens)
        ends = (at for at in range(end, max(0, end - _OPENING), -1) if self._backend.is_eog(tokens[at - 1]))
        return next(ends, 0)

    def _is_control(self, token: int) -> bool:
        return not self._backend.piece(token) and bool(self._backend.piece(token, special=True))


def _cut_message(message: ChatMessage, marks: SpecialMarks) -> ChatMessage:
    # Templates look for markup in what a model said, such as the end of its thinking, to leave it out.
    markup = message.role != "assistant"
    calls = tuple(
        ToolCall(_cut(call.name, marks), _cut_json(call.arguments, marks), _cut(call.call_id, marks))
        for call in message.tool_calls
    )
    return replace(
        message,
        content=marks.cut(_whole(message.content), markup=markup),
        reasoning=marks.cut(_whole(message.reasoning), markup=markup),
        tool_calls=calls,
        name=_cut(message.name, marks),
        call_id=_cut(message.call_id, marks),
    )


def _cut(value: Any, marks: SpecialMarks) -> Any:
    """Cuts every text in a JSON value."""
    if isinstance(value, str):
        return marks.cut(_whole(value), markup=True)
    if isinstance(value, Mapping):
        return {_cut(key, marks): _cut(item, marks) for key, item in value.items()}
    return [_cut(item, marks) for item in value] if isinstance(value, list | tuple) else value


def _cut_json(text: str, marks: SpecialMarks) -> str:
    """Cuts the arguments of a call: in the text, and in what its JSON escapes spell."""
    try:
        value = json.loads(text)
        cut = _cut(value, marks)
    except ValueError:  # templates get it as text
        return str(_cut(text, marks))
    except RecursionError:
        raise InvalidRequest("The arguments of a tool call are nested too deeply.") from None
    return text if cut == value else json.dumps(cut, ensure_ascii=False)


def _ending(data: bytes) -> str:
    return data[-_OPENING * 4 :].decode(errors="replace")


def _whole(text: str) -> str:
    """The text without lone surrogates, which no tokeniser accepts."""
    return text.encode("utf-8", "replace").decode()
