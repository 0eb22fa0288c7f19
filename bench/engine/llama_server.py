"""llama-server as a side, through its HTTP API."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from bench.cli import BenchError, Setup
from bench.engine.peers import last_words, start
from bench.engine.sides import Answer, Prompt, until
from engine import ChatMessage

__all__ = ["LlamaServer"]

_START_S = 120
_STOP_S = 10


class LlamaServer:
    """A llama-server process as a `Side`; an async context manager.

    Args:
        slots: chats it answers concurrently.
        context: KV cells of all slots together.
        batch: tokens per batch; 0 keeps its default of 2048.
        unified: one KV cache for all slots; its default is one per slot.
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
        # No prompt comes back here, so keeping copies would only cost it time.
        quiet = {"--cache-ram": 0, "--verbosity": 1, "--host": "127.0.0.1", "--port": self._port}
        pairs = {"-m": setup.model} | sizes | shared | quiet
        self._options = [str(part) for pair in pairs.items() for part in pair]
        self._options += ["-kvu" if unified else "-no-kvu", "--no-ui"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await start([self._tool, *self._options], stdout=self._log, stderr=self._log)
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

    async def prepare(self, messages: Sequence[ChatMessage]) -> Prompt:
        """Render the chat with its own template."""
        chat = [{"role": message.role, "content": message.content} for message in messages]
        rendered = await self._whole("/apply-template", {"messages": chat})
        return Prompt(messages, json.loads(rendered)["prompt"])

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """See `Side`."""
        names = ("temperature", "top_k", "top_p", "min_p")
        wish: dict[str, Any] = {name: getattr(prompt.sampling, name) for name in names}
        wish |= {"prompt": prompt.rendered, "n_predict": max_tokens, "stream": True, "ignore_eos": True}
        pending = b""
        answer.sent = perf_counter()
        async for part in self._request("/completion", wish):
            *events, pending = (pending + part).split(b"\n\n")
            now = perf_counter()
            for event in events:
                if not event.startswith(b":"):  # a keep-alive comment during prefill
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
        if fresh := event["tokens_predicted"] - answer.tokens:  # 0 while it holds back half a character
            answer.marks.append((now, fresh))
        answer.text += event["content"]
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
            async for part in _http(self._port, path, body):
                yield part
        except ConnectionRefusedError:
            raise
        except (OSError, EOFError) as error:
            raise BenchError(f"llama-server broke the connection: {self._words()}") from error

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
        # pread: seeking would move the position at which the process writes.
        return last_words(os.pread(self._log.fileno(), 1 << 20, 0))


async def _http(port: int, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[bytes]:
    """The parts of a loopback response as they arrive; GET without a body, else POST.

    A real client's cost would count against the peer, so this is as thin as possible: one socket per request.

    Raises:
        OSError, EOFError: nobody listens, or the connection broke.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_head(path, body))
        async for part in _parts(reader):
            yield part
    finally:
        writer.close()


def _head(path: str, body: dict[str, Any] | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" not in head:
        yield await reader.read()
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
