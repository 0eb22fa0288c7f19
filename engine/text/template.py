"""Chat templates: which one a model is used with, and rendering messages with it.

The templates themselves run in another process (`template_worker`), which is killed when one takes too long.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from threading import Lock
from types import MappingProxyType
from typing import Any
from weakref import finalize

from engine.errors import EngineClosed, InvalidRequest, TemplateError
from engine.types import ChatMessage

__all__ = ["ChatTemplate", "ChosenTemplate", "TemplateProcess", "choose_template"]

_WORKER = Path(__file__).with_name("template_worker.py")
_WAIT_S = 10.0  # on a machine so busy that the limit of processor time is not reached
_POLL_S = 0.01
_END_S = 5.0
_NONE: Mapping[str, Any] = MappingProxyType({})


class _Exhausted(TemplateError):
    """The template was given up; another try would take as long."""


class TemplateProcess:
    """The process that renders templates; started when it is first needed, and again after it was killed.
    Thread-safe: one request at a time. It ends with this object and with this program, however they end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed = False
        self._process: Popen[bytes] | None = None
        self._connection: Any = None
        self._abandoned: finalize[..., TemplateProcess] | None = None

    def warm_up(self) -> None:
        """Start the process without waiting for it."""
        with self._lock:
            self._start()

    def check(self, source: str) -> None:
        """Compile a template. Raises TemplateError."""
        self._ask({"source": source})

    def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """Render a template. Raises TemplateError: it is wrong, refuses, or takes too much time or memory."""
        return self._ask({"source": source, "variables": dict(variables)})

    def close(self) -> None:
        """End the process, and a request under way with `EngineClosed`."""
        self._closed = True
        while not self._lock.acquire(timeout=_POLL_S):  # a request holds it
            if (process := self._process) is not None:
                process.kill()
        try:
            self._end()
        finally:
            self._lock.release()

    def _ask(self, request: dict[str, Any]) -> str:
        try:
            data = json.dumps(request).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"Tools and template arguments must be JSON values: {error}.") from error
        with self._lock:
            answer = self._exchange(data)
        if answer is None:
            raise _Exhausted("The model's chat template takes too much time or memory for this chat.")
        if "invalid" in answer:
            raise TemplateError(
                f"The model's chat template is not valid Jinja: {answer['invalid'].rstrip('.')}."
            )
        if "error" in answer:
            raise TemplateError(
                f"The model's chat template cannot render this chat: {answer['error'].rstrip('.')}."
            )
        return answer["text"]

    def _exchange(self, data: bytes) -> dict[str, str] | None:
        """The answer to a request; None if the process died of it, or does not answer."""
        for _ in range(2):
            fresh = self._start()
            try:
                self._connection.send_bytes(data)
                if self._connection.poll(_WAIT_S):
                    answer: dict[str, str] = json.loads(self._connection.recv_bytes())
                    return answer
                break
            except (EOFError, OSError):
                # Somebody may have killed an idle process; that is no reason to refuse a request.
                how = self._end()
                self._check_open()
                if how == -signal.SIGPROF or fresh:
                    return None
        self._end()
        self._check_open()
        return None

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosed("The engine was closed before this prompt was read.")

    def _start(self) -> bool:
        """Make sure that the process runs; True if it is new. Raises EngineClosed."""
        self._check_open()
        if self._process is not None and self._process.poll() is None:
            return False
        self._end()
        self._connection, theirs = Pipe()
        try:
            self._process = Popen(
                [sys.executable, "-P", str(_WORKER), str(theirs.fileno())],
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=True,  # keeps Ctrl+C in the terminal away from it
            )
        except OSError as error:
            self._connection.close()
            self._connection = None
            raise TemplateError(f"Chat templates cannot be rendered: {error}.") from error
        finally:
            theirs.close()
        self._abandoned = finalize(self, _end_abandoned, self._process)
        return True

    def _end(self) -> int | None:
        """Kill the process, and say how it had ended."""
        process, self._process = self._process, None
        if self._abandoned is not None:
            self._abandoned.detach()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is None:
            return None
        with suppress(TimeoutExpired):  # it is ending by itself, and for a reason
            process.wait(0.2)
        process.kill()
        with suppress(TimeoutExpired):
            process.wait(_END_S)
        return process.returncode


def _end_abandoned(process: Popen[bytes]) -> None:
    process.kill()
    process.wait()


_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_PLAIN = (
    "{% for message in messages %}"
    "{% set names = {'system': 'Instructions', 'user': 'User', 'tool': 'Tool'} %}"
    "{{ names.get(message['role'], 'Assistant') + ': ' }}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenTemplate:
    """The template a model is used with.

    Args:
        template: checked.
        name: "configured", "gguf" or the name of a fallback.
        stop: strings that end an answer, for a template without an end-of-turn token.
        warning: a sentence for the user when it is a fallback.
    """

    template: ChatTemplate
    name: str
    stop: tuple[str, ...] = ()
    warning: str | None = None


def choose_template(
    process: TemplateProcess,
    *,
    configured: str | None,
    from_gguf: str | None,
    knows_chatml: bool,
    bos: str,
    eos: str,
) -> ChosenTemplate:
    """The configured template, else the GGUF's own, else a named fallback.

    Args:
        process: renders it.
        knows_chatml: whether `<|im_start|>` is a token of the model.

    Raises:
        TemplateError: the configured template is not valid Jinja.
    """
    if configured is not None:
        return ChosenTemplate(template=ChatTemplate(configured, process, bos=bos, eos=eos), name="configured")
    problem = "The model carries no chat template"
    if from_gguf:
        try:
            return ChosenTemplate(template=ChatTemplate(from_gguf, process, bos=bos, eos=eos), name="gguf")
        except TemplateError as error:
            problem = str(error).rstrip(".")
    if knows_chatml:
        return ChosenTemplate(
            template=ChatTemplate(_CHATML, process),
            name="ChatML fallback",
            warning=f"{problem}; the ChatML fallback is used.",
        )
    return ChosenTemplate(
        template=ChatTemplate(_PLAIN, process),
        name="plain fallback",
        stop=("\nUser:", "\nInstructions:"),
        warning=f"{problem}; the plain fallback (User: / Assistant:) is used. A base model continues"
        " text rather than answering.",
    )


class ChatTemplate:
    """A chat template that compiles.

    Args:
        source: Jinja text.
        process: renders it.
        bos, eos: text of the model's begin and end tokens, which templates may print.

    Raises:
        TemplateError: the source is not valid Jinja.
    """

    def __init__(self, source: str, process: TemplateProcess, *, bos: str = "", eos: str = "") -> None:
        self.source = source
        self._process = process
        self._tokens = {"bos_token": bos, "eos_token": eos}
        process.check(source)

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] = _NONE,
    ) -> str:
        """Render messages, ending where the answer begins.

        If the template refuses a system message, its text goes in front of the first user message instead.

        Args:
            tools: what the model may call, each as the JSON object `{"type": "function", ...}`.
            arguments: further variables of the template, such as `enable_thinking`.

        Raises:
            TemplateError: the template refuses the messages, or takes too much time or memory.
        """
        given = {**arguments, "tools": [*tools] or None}
        try:
            return self._render(messages, given)
        except _Exhausted:
            raise
        except TemplateError:
            if not messages or messages[0].role != "system" or len(messages) < 2:
                raise
            return self._render(_fold_system(messages), given)

    def _render(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> str:
        plain = [message.as_json() for message in messages]
        variables = {"add_generation_prompt": True, "documents": None} | given | {"messages": plain}
        return self._process.render(self.source, variables | self._tokens)


def _fold_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    system, first, *rest = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *rest]
