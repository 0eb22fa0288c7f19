"""A model hub on loopback: the endpoints and headers of the real one, and its ways to fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
REPO = "owner/Model-GGUF"


class LoopbackHub:
    """Serves `files` ({"owner/repo": {"file": bytes}}) until its `with` block ends.

    Attributes:
        cuts: file → after how many bytes of an answer the connection breaks, one entry per request.
        digests: file → what is announced as its hash.
        unhashed: files that are announced without a hash, as those that the hub keeps in git.
        listing: answered in place of the list of files.
        tampered: file → bytes that are served in place of the true ones; its announced hash stays true.
        gated: repositories whose files need a token; refused: path part → HTTP status.
        pause: set it to hold answers back after their first half until it is cleared.
        requests: (method, path, headers) of every request.
    """

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files = files
        self.cuts: dict[str, list[int]] = {}
        self.digests: dict[str, object] = {}
        self.unhashed: set[str] = set()
        self.listing: bytes | None = None
        self.tampered: dict[str, bytes] = {}
        self.gated: set[str] = set()
        self.refused: dict[str, int] = {}
        self.ranges_ignored = False
        self.half_sent, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sent = Counter[str]()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ranges(self) -> list[str | None]:
        """The Range header of every request for content."""
        return [headers.get("range") for _, path, headers in self.requests if path.startswith("/cdn/")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore readers that disconnect: some tests do so on purpose."""


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(("GET", path, headers))
        for part, status in self.hub.refused.items():
            if part in path:
                return self._answer(status, b"{}")
        if path.startswith("/api/models/"):
            return self._listing(path.removeprefix("/api/models/"))
        if path.startswith("/cdn/"):
            return self._content(*path.removeprefix("/cdn/").split("/-/"))
        repo, _, rest = path[1:].partition("/resolve/")
        return self._resolve(repo, rest.partition("/")[2], headers)

    def _listing(self, repo: str) -> None:
        if self.hub.listing is not None:
            return self._answer(200, self.hub.listing)
        files = self.hub.files.get(repo)
        if files is None:
            return self._answer(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": "b" * 40,
                "lfs": None
                if name in self.hub.unhashed
                else {
                    "sha256": self.hub.digests.get(name, hashlib.sha256(content).hexdigest()),
                    "size": len(content),
                    "pointerSize": 134,
                },
            }
            for name, content in files.items()
        ]
        document = {
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "private": False,
            "siblings": siblings,
            "tags": [],
        }
        return self._answer(200, json.dumps(document).encode())

    def _resolve(self, repo: str, file: str, headers: dict[str, str]) -> None:
        if repo in self.hub.gated and "authorization" not in headers:
            return self._answer(
                401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            )
        if file not in self.hub.files.get(repo, {}):
            return self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        # Another host name, as the real hub sends its readers to a content network.
        location = f"http://localhost:{self.hub.port}/cdn/{repo}/-/{file}"
        linked = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(self.hub.files[repo][file]))}
        return self._answer(302, b"", {"Location": location, **linked})

    def _content(self, repo: str, file: str) -> None:
        whole = self.hub.tampered.get(file, self.hub.files[repo][file])
        wanted = self.headers.get("Range")
        start = (
            int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.hub.ranges_ignored else 0
        )
        body = whole[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        cuts = self.hub.cuts.get(file)
        if cuts:
            body = body[: cuts.pop(0)]
            self.close_connection = True
        half = len(body) // 2
        self._send(file, body[:half])
        self.hub.half_sent.set()
        self.hub.go_on.wait(30)
        self._send(file, body[half:])

    def _send(self, file: str, body: bytes) -> None:
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the reader has gone
            self.close_connection = True
        self.hub.sent[file] += len(body)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
