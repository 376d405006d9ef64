"""A web server on the loopback that can break, forget ranges and count."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has and how it behaves; ``requests`` lists (method, path, Range) as they came."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str = '"v1"'
    cuts: list[int] = field(default_factory=list)  # bytes of the body that the next answers send before they break
    delay: float = 0.0

    def add(self, name: str, content: bytes) -> str:
        self.files[name] = content
        return f"{self.address}/{name}"


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site, name = self.site, self.path.lstrip("/")
        site.requests.append((self.command, name, self.headers.get("Range")))
        time.sleep(site.delay)
        if name not in site.files:
            return self.send_error(404)
        content = site.files[name]
        start = self._start() if site.ranges else 0
        if start >= len(content) > 0:
            return self._answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b"")
        headers = {"Content-Length": str(len(content) - start), "ETag": site.etag} | site.headers
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._answer(206 if start else 200, headers, content[start:])

    def _start(self) -> int:
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == self.site.etag
        return int(asked[1]) if asked and same else 0

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: self.site.cuts.pop(0)] if self.site.cuts else body)


def serve() -> Iterator[Site]:
    """Yield a site whose server runs until the fixture ends."""
    handler = type("SiteHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler.site
    server.shutdown()
    thread.join()
    server.server_close()
