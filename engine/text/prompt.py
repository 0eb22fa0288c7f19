"""Chat messages to the tokens of a prompt, in two stages: the chat template renders text, the tokeniser
splits it.

A chat template out of a GGUF is untrusted code. It runs in Jinja's immutable sandbox, which lets it neither
reach Python's internals nor change what it is given. A later turn reuses the tokens of the earlier one, so
that its prompt finds them in the KV cache.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import TemplateError
from engine.step import Backend
from engine.types import ChatMessage

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["ChatTemplate", "ChosenTemplate", "PromptEncoder", "choose_template"]

_SESSIONS = 4096  # whose tokens are remembered
_REMEMBERED = 2_000_000  # tokens of all sessions together, in 8 MB


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
        self._known: dict[str, array[int]] = {}  # least recently used first
        self._remembered = 0  # tokens of all

    def encode(self, messages: Sequence[ChatMessage], session_id: str | None = None) -> list[int]:
        """Tokens of the rendered messages.

        Raises:
            TemplateError: the chat template refuses the messages.
        """
        return self._encode(self._backend.render(messages), session_id)

    def encode_with_head(
        self, messages: Sequence[ChatMessage], session_id: str | None = None
    ) -> tuple[list[int], int]:
        """Tokens of the rendered messages, and how many of them spell the system message at the head, which
        other chats probably share; 0 when there is none.

        Raises:
            TemplateError: the chat template refuses the messages.
        """
        text = self._backend.render(messages)
        tokens = self._encode(text, session_id)
        head = messages[0].content.strip() if messages[0].role == "system" else ""
        at = text.find(head) if head else -1
        return tokens, 0 if at < 0 else self._spelling(text.encode(), tokens, text[: at + len(head)].encode())

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

    def _encode(self, text: str, session_id: str | None) -> list[int]:
        with self._lock:
            known = self._known.get(session_id) if session_id is not None else None
        reused, offset = self._reusable(known or (), text.encode())
        if not reused:
            return self._backend.tokenize(text, add_special=True, parse_special=True)
        return reused + self._backend.tokenize(text.encode()[offset:].decode(), parse_special=True)

    def _spelling(self, text: bytes, tokens: Sequence[int], head: bytes) -> int:
        """How many tokens at the start of a text lie entirely within its head."""
        first = self._backend.piece(tokens[0], special=True)
        spelled = 0 if text.startswith(first) else -len(first)  # a begin token that the text lacks
        for count, token in enumerate(tokens):
            spelled += len(self._backend.piece(token, special=True))
            if spelled > len(head):
                return count
        return 0

    def _reusable(self, known: Sequence[int], text: bytes) -> tuple[list[int], int]:
        """The longest run of known tokens that spells the start of the text, and how many bytes it spells.

        It ends where a control token begins or ends: only there do two parts tokenise apart as they do
        together.
        """
        offset = 0
        safe = (0, 0)
        for index, token in enumerate(known):
            piece = self._backend.piece(token, special=True)
            control = self._is_control(token)
            if index == 0 and control and not text.startswith(piece):
                piece = b""  # a begin token that the tokeniser adds and the template does not print
            elif control and not _inside_character(text, offset):
                safe = (index, offset)
            if not text.startswith(piece, offset):
                break
            offset += len(piece)
            if control:
                safe = (index + 1, offset)
        else:
            if self._control_follows(text, offset):
                safe = (len(known), offset)
        return list(known[: safe[0]]), safe[1]

    def _control_follows(self, text: bytes, offset: int) -> bool:
        if _inside_character(text, offset):  # the last token was sampled but never computed
            return False
        head = text[offset : offset + 64].decode(errors="ignore")
        tokens = self._backend.tokenize(head, parse_special=True) if head else []
        return bool(tokens) and self._is_control(tokens[0])

    def _is_control(self, token: int) -> bool:
        return not self._backend.piece(token) and bool(self._backend.piece(token, special=True))


def _inside_character(text: bytes, offset: int) -> bool:
    """Whether an offset into UTF-8 falls inside a character."""
    return offset < len(text) and text[offset] & 0xC0 == 0x80


_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_PLAIN = (
    "{% for message in messages %}"
    "{{ {'system': 'Instructions', 'user': 'User', 'assistant': 'Assistant'}[message['role']] + ': ' }}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenTemplate:
    """The template a model is used with.

    Args:
        template: compiled.
        name: "configured", "gguf" or the name of a fallback.
        stop: strings that end an answer, for a template without an end-of-turn token.
        warning: a sentence for the user when it is a fallback.
    """

    template: ChatTemplate
    name: str
    stop: tuple[str, ...] = ()
    warning: str | None = None


def choose_template(
    *, configured: str | None, from_gguf: str | None, knows_chatml: bool, bos: str, eos: str
) -> ChosenTemplate:
    """The configured template, else the GGUF's own, else a named fallback.

    Args:
        knows_chatml: whether `<|im_start|>` is a token of the model.

    Raises:
        TemplateError: the configured template is not valid Jinja.
    """
    if configured is not None:
        return ChosenTemplate(template=ChatTemplate(configured, bos=bos, eos=eos), name="configured")
    problem = "The model carries no chat template"
    if from_gguf:
        try:
            return ChosenTemplate(template=ChatTemplate(from_gguf, bos=bos, eos=eos), name="gguf")
        except TemplateError as error:
            problem = str(error).rstrip(".")
    if knows_chatml:
        return ChosenTemplate(
            template=ChatTemplate(_CHATML),
            name="ChatML fallback",
            warning=f"{problem}; the ChatML fallback is used.",
        )
    return ChosenTemplate(
        template=ChatTemplate(_PLAIN),
        name="plain fallback",
        stop=("\nUser:", "\nInstructions:"),
        warning=f"{problem}; the plain fallback (User: / Assistant:) is used. A base model continues"
        " text rather than answering.",
    )


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja text.
        bos, eos: text of the model's begin and end tokens, which templates may print.

    Raises:
        TemplateError: the source is not valid Jinja.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        try:
            self._template = _sandbox().from_string(source)
        except (
            Exception
        ) as error:  # untrusted source can break the compiler in other ways than a syntax error
            raise TemplateError(f"The model's chat template is not valid Jinja: {error}.") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """Render messages, ending where the answer begins.

        If the template refuses a system message, its text goes in front of the first user message instead.

        Raises:
            TemplateError: the template refuses the messages.
        """
        try:
            return self._render(messages)
        except TemplateError:
            if messages[0].role != "system" or len(messages) < 2:
                raise
            return self._render(_fold_system(messages))

    def _render(self, messages: Sequence[ChatMessage]) -> str:
        plain = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._template.render(messages=plain, add_generation_prompt=True, **self._tokens)
        except Exception as error:  # untrusted template code can raise anything
            raise TemplateError(f"The model's chat template cannot render this chat: {error}.") from error


def _sandbox() -> ImmutableSandboxedEnvironment:
    """Where templates run. Jinja is imported here, with the first model, and not before a screen is drawn."""
    from jinja2 import TemplateError as JinjaError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Accepts `{% generation %}` blocks, which mark training targets and mean nothing here."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise JinjaError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _fold_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    system, first, *rest = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *rest]


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
