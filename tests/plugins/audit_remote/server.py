"""A small server that speaks as much of S3 as is asked of it, and fails on request."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Callable[[str, int], "int | str | None"]
"""Asked with a key ("" is the listing) and the number of the request for it: a status, "cut", "slow", or None."""


class Bucket:
    """The objects of the bucket ``b`` by key; ``asked`` are the requests as (key, bytes sent)."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, int]] = []
        self.fault: Fault = lambda key, count: None
        self.before: Callable[[str], None] = lambda key: None
        self.heeds_if_match = True
        self.seconds = 0.0
        self.modified = "2026-01-02T03:04:05.000Z"
        self._counts: dict[str, int] = {}
        self._lock = Lock()

    def etag(self, key: str) -> str:
        return f'"{hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()}"'

    def put(self, home: str, files: dict[str, bytes]) -> None:
        self.objects.update({f"{home}/{path}": data for path, data in files.items()})

    def count(self, key: str) -> int:
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            return self._counts[key]

    def note(self, key: str, sent: int) -> None:
        with self._lock:
            self.asked.append((key, sent))

    def of_objects(self) -> list[tuple[str, int]]:
        return [item for item in self.asked if item[0]]


@contextmanager
def served() -> Iterator[tuple[str, Bucket]]:
    """Serve a bucket; the address is of its endpoint."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            name, _, key = unquote(url.path).lstrip("/").partition("/")
            time.sleep(bucket.seconds)
            fault = bucket.fault(key, bucket.count(key))
            if isinstance(fault, int):
                self._error(fault, "SlowDown" if fault == 503 else "AccessDenied")
            elif name != "b":
                self._error(404, "NoSuchBucket")
            elif key:
                bucket.before(key)
                self._object(key, fault)
            else:
                self._listing(parse_qs(url.query))

        def _listing(self, query: dict[str, list[str]]) -> None:
            prefix = query.get("prefix", [""])[0]
            after = query.get("continuation-token", [""])[0]
            keys = [key for key in sorted(bucket.objects) if key.startswith(prefix) and key > after]
            page, rest = keys[:1000], keys[1000:]
            items = "".join(
                f"<Contents><Key>{escape(quote(key) if 'encoding-type' in query else key)}</Key><Size>"
                f"{len(bucket.objects[key])}</Size><ETag>{escape(bucket.etag(key))}</ETag>"
                f"<LastModified>{bucket.modified}</LastModified></Contents>"
                for key in page
            )
            more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
            text = f"<?xml version='1.0'?><ListBucketResult><IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}"
            self._send(200, f"{text}{items}</ListBucketResult>".encode(), {"Content-Type": "application/xml"})
            bucket.note("", 0)

        def _object(self, key: str, fault: str | None) -> None:
            if key not in bucket.objects:
                self._error(404, "NoSuchKey")
                return
            data, etag = bucket.objects[key], bucket.etag(key)
            if bucket.heeds_if_match and self.headers.get("If-Match", etag) != etag:
                self._error(412, "PreconditionFailed")
                return
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            headers = {
                "ETag": etag,
                "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
                "Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}",
            }
            if fault == "slow":
                time.sleep(0.3)
            bucket.note(key, len(part))
            self._send(206, part, headers, cut=fault == "cut")

        def _error(self, status: int, code: str) -> None:
            text = f"<Error><Code>{code}</Code><Message>s3cret-{status}</Message></Error>"
            self._send(status, text.encode(), {"Content-Type": "application/xml"})

        def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
