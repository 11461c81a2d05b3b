"""Stands for Google Cloud's metadata server, on this machine's loopback."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import NamedTuple


class Answer(NamedTuple):
    """What a question gets; a delayed one waits for the server's event."""

    text: str
    etag: str = ""
    status: int = 200
    is_delayed: bool = False


HANG = Answer("hang")  # no answer at all
GONE = Answer("gone")  # a connection that ends
NOT_HTTP = Answer("SSH-2.0")


class MetadataServer:
    """What a server was asked, and what holds it up.

    Attributes:
      host: HOST:PORT.
      asked: path and Metadata-Flavor of each question.
      release: set, lets the delayed answers go.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.asked: list[tuple[str, str | None]] = []
        self.release = threading.Event()


@contextlib.contextmanager
def running(*answers: Answer) -> Iterator[MetadataServer]:
    """Gives the answers one by one, the last one again and again."""
    end = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers["Metadata-Flavor"]))
            answer = answers[min(len(server.asked), len(answers)) - 1]
            if answer is HANG:
                end.wait()
            elif answer is NOT_HTTP:
                self.wfile.write(answer.text.encode())
            elif answer is not GONE:
                self._answer(answer)

        def _answer(self, answer: Answer) -> None:
            if answer.is_delayed:
                server.release.wait()
            self.send_response(answer.status)
            if answer.etag:
                self.send_header("ETag", answer.etag)
            self.end_headers()
            self.wfile.write(answer.text.encode())

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = MetadataServer(f"127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        end.set()
        server.release.set()
        listener.shutdown()
        thread.join()
        listener.server_close()
