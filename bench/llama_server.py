"""llama-server, started on a loopback port and asked through its HTTP API."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from bench.batched_bench import clean_environment, last_words
from bench.cli import Setup
from bench.errors import BenchError
from bench.sides import Answer, Prompt, until
from bench.thin_http import request
from engine import ChatMessage, SamplingParams

__all__ = ["LlamaServer"]

_START_S = 120
_STOP_S = 10


class LlamaServer:
    """A llama-server process as a `Side`; an async context manager.

    Args:
        slots: chats it answers at the same time.
        context: KV cells of all slots together.
        batch: tokens per batch; 0 leaves its default, 2048.
        unified: one KV cache for all slots; its default with a given number of slots is one each.
    """

    def __init__(
        self, setup: Setup, *, slots: int, context: int, batch: int = 512, unified: bool = False
    ) -> None:
        self._tool = setup.tool("llama-server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        sizes = {"-np": slots, "-c": context} | ({"-b": batch, "-ub": min(batch, 512)} if batch else {})
        shared = {"-t": setup.threads, "-tb": setup.threads, "-ngl": setup.gpu_layers}
        # No old prompt comes back here, so keeping copies of them would only cost it time.
        quiet = {"--cache-ram": 0, "--verbosity": 1, "--host": "127.0.0.1", "--port": self._port}
        pairs = {"-m": setup.model} | sizes | shared | quiet
        self._options = [str(part) for pair in pairs.items() for part in pair]
        self._options += ["-kvu" if unified else "-no-kvu", "--no-ui"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            self._tool, *self._options, stdout=self._log, stderr=self._log, env=clean_environment()
        )
        try:
            async with asyncio.timeout(_START_S):
                await until(self._healthy)
        except TimeoutError:
            words = self._words()
            await self._end()
            raise BenchError(f"llama-server did not start within {_START_S} s: {words}") from None
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def prepare(self, messages: SequenceOf[ChatMessage]) -> Prompt:
        """Have it render the chat with its own template."""
        chat = [{"role": message.role, "content": message.content} for message in messages]
        rendered = await self._whole("/apply-template", {"messages": chat})
        return Prompt(messages, json.loads(rendered)["prompt"])

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """See `Side`; sampling as our engine's default."""
        ours = SamplingParams()
        wish: dict[str, Any] = {
            name: getattr(ours, name) for name in ("temperature", "top_k", "top_p", "min_p")
        }
        wish |= {"prompt": prompt.rendered, "n_predict": max_tokens, "stream": True, "ignore_eos": True}
        pending = b""
        answer.sent = perf_counter()
        async for part in self._request("/completion", wish):
            *events, pending = (pending + part).split(b"\n\n")
            now = perf_counter()
            for event in events:
                if not event.startswith(b":"):  # a sign of life while a prompt is read
                    self._read(json.loads(event.removeprefix(b"data: ")), now, answer)
        if answer.tokens != max_tokens:
            raise BenchError(f"llama-server wrote {answer.tokens} tokens instead of {max_tokens}.")

    async def idle(self) -> None:
        """See `Side`."""
        await until(self._at_rest)

    async def _at_rest(self) -> bool:
        slots = json.loads(await self._whole("/slots"))
        return not any(slot["is_processing"] for slot in slots)

    @staticmethod
    def _read(event: dict[str, Any], now: float, answer: Answer) -> None:
        if "tokens_predicted" not in event:
            raise BenchError(f"llama-server refused a request: {json.dumps(event)[:300]}")
        if fresh := event["tokens_predicted"] - answer.tokens:  # it holds back half a character, too
            answer.marks.append((now, fresh))
        answer.prompt_tokens = event["tokens_evaluated"]

    async def _healthy(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise BenchError(f"llama-server failed (exit {self._process.returncode}): {self._words()}")
        try:
            return b'"ok"' in await self._whole("/health")
        except ConnectionRefusedError:
            return False

    async def _whole(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        return b"".join([part async for part in self._request(path, body)])

    async def _request(self, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[bytes]:
        try:
            async for part in request(self._port, path, body):
                yield part
        except ConnectionRefusedError:
            raise
        except (OSError, EOFError) as error:
            raise BenchError(f"llama-server broke off: {self._words()}") from error

    async def _end(self) -> None:
        process = self._process
        assert process is not None
        try:
            if process.returncode is None:
                process.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _STOP_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._log.close()

    def _words(self) -> str:
        # Not by seeking: the process writes at the position we would move.
        return last_words(os.pread(self._log.fileno(), 1 << 20, 0))
