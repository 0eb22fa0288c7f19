"""Renders chat templates in a process of its own, which `template` starts: python template_worker.py FD.

A template out of a GGUF is untrusted code. Jinja's immutable sandbox lets it neither reach Python's internals
nor change what it is given, but not how long it runs or how much memory it takes: two nested loops never end.
So this process has little memory, and is ended by the system when one request takes too much processor time.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from jinja2 import Template
from jinja2 import TemplateError as JinjaError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_S = 2.0  # for one request
MEMORY_BYTES = 1 << 30
MAX_CHARACTERS = 32_000_000  # of a rendered prompt
_TEMPLATES = 32  # compiled ones that are kept


class Generation(Extension):
    """Accepts `{% generation %}` blocks, which mark training targets and mean nothing here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def refuse(message: str) -> NoReturn:
    raise JinjaError(message)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def sandbox() -> ImmutableSandboxedEnvironment:
    """What templates have, as in transformers' `apply_chat_template`."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class Renderer:
    """Compiles templates once and renders them."""

    def __init__(self) -> None:
        self._environment = sandbox()
        self._compiled: dict[str, Template] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, str]:
        """What became of a request: its text, or what is wrong with the template (`invalid`) or the messages
        (`error`)."""
        source, variables = request["source"], request.get("variables")
        try:
            template = self._template(source)
        except MemoryError:
            return {"invalid": "it needs too much memory"}
        except Exception as error:  # untrusted source can break the compiler in many ways
            return {"invalid": str(error)}
        try:
            text = "" if variables is None else template.render(**variables)
        except MemoryError:
            return {"error": "it needs too much memory"}
        except Exception as error:  # untrusted template code can raise anything
            return {"error": str(error) or type(error).__name__}
        if len(text) > MAX_CHARACTERS:
            return {"error": f"it makes a prompt of {len(text):,} characters"}
        return {"text": text}

    def _template(self, source: str) -> Template:
        if source not in self._compiled:
            if len(self._compiled) >= _TEMPLATES:
                self._compiled.clear()
            self._compiled[source] = self._environment.from_string(source)
        return self._compiled[source]


def main() -> None:
    """Answer requests until the other side closes."""
    with suppress(ImportError, OSError, ValueError):  # some systems have no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    connection, renderer = Connection(int(sys.argv[1])), Renderer()
    with suppress(EOFError, OSError):
        while True:
            request = json.loads(connection.recv_bytes())
            signal.setitimer(signal.ITIMER_PROF, CPU_S)  # its signal ends the process
            answer = renderer.answer(request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
