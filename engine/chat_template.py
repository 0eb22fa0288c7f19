"""Chat messages to prompt text.

A chat template out of a GGUF is untrusted code: it runs in Jinja's immutable sandbox, which lets it
neither reach Python's internals nor change what it is given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import TemplateError
from engine.types import ChatMessage

__all__ = ["ChatTemplate", "ChosenTemplate", "choose_template"]

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
        stop: strings that end an answer, where the model has no end-of-turn token for it.
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
        warning=f"{problem}; the plain fallback (User: / Assistant:) is used. A base model continues text"
        " rather than answers.",
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
