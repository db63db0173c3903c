"""A web server on this machine that behaves as badly as a test asks for."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answer", "Site", "serve"]


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    Attributes:
        body: What the file holds at this moment; that of the site if ``None``.
        stop_after: Close the connection after so many bytes of the answer.
        claim: Add so many bytes to the length that is announced; ``None``: announce none.
        ranges: Whether a request for a part is understood.
        skip: Add so many bytes to where the part begins.
        status: An error instead of the file.
        headers: Further headers.
        chunked: Send in chunks, without a length.
        pause: Seconds between pieces of ``piece`` bytes.
        piece: Bytes that are sent at a time.
        etag: Name of exactly these bytes; their hash if ``None``; empty: no name at all.
    """

    body: bytes | None = None
    stop_after: int | None = None
    claim: int | None = 0
    ranges: bool = True
    skip: int = 0
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    pause: float = 0.0
    piece: int = 2**16
    etag: str | None = None


@dataclass
class Site:
    """What the server has and what it was asked for.

    Attributes:
        url: Its address, without a path.
        body: What every path gives.
        answers: How the next requests are answered; the last one holds for all after it.
        asked: Path and ``Range`` of each request.
    """

    url: str
    body: bytes
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def next(self, path: str, wanted: str | None) -> Answer:
        """Return how a request is answered."""
        with self._lock:
            self.asked.append((path, wanted))
            if not self.answers:
                return Answer()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def ranges(self) -> list[str | None]:
        """The ``Range`` of each request."""
        return [wanted for _, wanted in self.asked]


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        with suppress(ConnectionError):
            self._answer(self.site.next(self.path, self.headers.get("Range")))
        self.close_connection = True

    def _answer(self, answer: Answer) -> None:
        body = self.site.body if answer.body is None else answer.body
        etag = f'"{hashlib.md5(body).hexdigest()}"' if answer.etag is None else answer.etag  # noqa: S324
        wanted = self.headers.get("Range") if answer.ranges and answer.status == 200 else None
        if wanted is not None and self.headers.get("If-Range", etag) != etag:
            wanted = None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + answer.skip if wanted else 0
        if wanted and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else answer.status)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        rest = body[start:]
        if answer.claim is not None and not answer.chunked:
            self.send_header("Content-Length", str(len(rest) + answer.claim))
        names = {name.lower() for name, _ in answer.headers}
        for name, value in (("ETag", etag), ("Content-Type", "application/octet-stream"), *answer.headers):
            if value and not (
                name == "Content-Type" and "content-type" in names and (name, value) not in answer.headers
            ):
                self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._send(rest if answer.stop_after is None else rest[: answer.stop_after], answer)

    def _send(self, data: bytes, answer: Answer) -> None:
        for start in range(0, len(data), answer.piece):
            piece = data[start : start + answer.piece]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            if answer.pause:
                time.sleep(answer.pause)
        if answer.chunked and answer.stop_after is None:
            self.wfile.write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


@contextmanager
def serve(body: bytes) -> Iterator[Site]:
    """Serve some bytes under every path, on a port of this machine that is free."""
    site = Site(url="", body=body)
    handler: Callable[..., Any] = type("Handler", (_Handler,), {"site": site, "protocol_version": "HTTP/1.1"})
    server = _Server(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
