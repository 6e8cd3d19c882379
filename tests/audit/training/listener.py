"""A real HTTP server on loopback that behaves as servers do: well, slowly, not at all, with errors."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[int], int | None]
"""From the number of the request, from 1, to the status; None: no answer, ever."""


class Listener:
    """``told`` are the documents of the requests that were read, whatever the answer was."""

    def __init__(self, answer: Answer, delay: float) -> None:
        self.told: list[Any] = []
        self.paths: list[str] = []
        self.over = threading.Event()
        self.heard = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with listener.heard:
                    listener.told.append(json.loads(body))
                    listener.paths.append(self.path)
                    number = len(listener.told)
                    listener.heard.notify_all()
                listener.over.wait(delay)
                status = answer(number)
                if status is None:
                    listener.over.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "1000000" if status == 299 else "0")  # 299: a body without an end
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                if status == 299:
                    listener.over.wait(60)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://user:hush@127.0.0.1:{self.port}/hooks/s3cret?key=s3cret"

    def until(self, count: int, seconds: float = 20.0) -> list[Any]:
        """Wait for so many requests."""
        end = time.monotonic() + seconds
        with self.heard:
            while len(self.told) < count:
                assert self.heard.wait(end - time.monotonic()), self.told
        return self.told


@contextmanager
def listening(answer: Answer = lambda number: 200, delay: float = 0.0) -> Iterator[Listener]:
    made = Listener(answer, delay)
    thread = threading.Thread(target=made._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        made._server.shutdown()
        made._server.server_close()
        thread.join()
