"""An HTTP client as thin as it can be, one socket per request: what it costs would count against the peer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["request"]


async def request(port: int, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[bytes]:
    """The parts of a response's body as they come from the loopback interface; GET without a body, else POST.

    Raises:
        OSError, EOFError: nobody listens, or the answer broke off.
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
