"""Chat messages to prompt text.

A chat template out of a GGUF is untrusted code: it runs in Jinja's immutable sandbox, which lets it
neither reach Python's internals nor change what it is given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as SequenceOf
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import TemplateError
from engine.types import ChatMessage

__all__ = ["CHATML", "ChatTemplate"]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

PLAIN = (
    "{% for message in messages %}"
    "{{ {'system': 'Instructions', 'user': 'User', 'assistant': 'Assistant'}[message['role']] + ': ' }}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
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
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except (TemplateSyntaxError, JinjaError) as error:
            raise TemplateError(f"The model's chat template is not valid Jinja: {error}.") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: SequenceOf[ChatMessage]) -> str:
        """Render messages, ending where the answer begins.

        A template that knows no system role gets the system text in front of the first user message.

        Raises:
            TemplateError: the template refuses the messages.
        """
        try:
            return self._render(messages)
        except TemplateError:
            if messages[0].role != "system" or len(messages) < 2:
                raise
            return self._render(_fold_system(messages))

    def _render(self, messages: SequenceOf[ChatMessage]) -> str:
        plain = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._template.render(messages=plain, add_generation_prompt=True, **self._tokens)
        except Exception as error:  # whatever untrusted template code raises
            raise TemplateError(f"The model's chat template cannot render this chat: {error}.") from error


class _Generation(Extension):
    """Accept `{% generation %}` blocks, which mark training targets and mean nothing here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _fold_system(messages: SequenceOf[ChatMessage]) -> list[ChatMessage]:
    system, first, *rest = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *rest]


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise JinjaError(message)
