"""A web server on loopback that does what servers do, and archives for it."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.server
import io
import pathlib
import tarfile
import threading
from collections.abc import Callable, Iterator

Change = Callable[[tarfile.TarInfo], None]


@dataclasses.dataclass
class Served:
    """Files by path, how they are sent, and what was asked for.

    Attributes:
      files: content by path.
      etag: sent with every file; None sends none.
      knows_ranges: Range is answered with 206, or ignored.
      knows_if_range: a Range of another version is answered with 200.
      break_at: the connection closes after so many bytes of an answer.
      surplus: so many bytes more are announced than there are.
      redirect: where every request is sent on to.
      status: instead of 200.
      raw: sent instead of an answer.
      asked: path and Range header of every request.
      holds: answers wait until it is set.
    """

    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    etag: str | None = '"one"'
    knows_ranges: bool = True
    knows_if_range: bool = True
    break_at: int | None = None
    surplus: int = 0
    redirect: str | None = None
    status: int = 200
    raw: bytes | None = None
    asked: list[tuple[str, str | None]] = dataclasses.field(
        default_factory=list
    )
    holds: threading.Event | None = None
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def served(self) -> Served:
        assert isinstance(self.server, _Server)
        return self.server.served

    def do_GET(self) -> None:
        served, asked = self.served, self.headers.get("Range")
        served.asked.append((self.path, asked))
        if served.holds is not None:
            served.holds.wait(20)
            return
        if served.raw is not None:
            self.wfile.write(served.raw)
            return
        if served.redirect is not None:
            self.send_response(302)
            self.send_header("Location", served.redirect)
            self.end_headers()
            return
        content = served.files.get(self.path)
        if content is None or served.status != 200:
            self.send_error(404 if content is None else served.status)
            return
        self._send(content, asked)

    def _send(self, content: bytes, asked: str | None) -> None:
        served, begin, total = self.served, 0, len(content)
        is_current = self.headers.get("If-Range") == served.etag
        if (
            asked is not None
            and served.knows_ranges
            and (is_current or not served.knows_if_range)
        ):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {begin}-{total - 1}/{total}"
            )
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(total - begin + served.surplus))
        if served.etag is not None:
            self.send_header("ETag", served.etag)
        self.end_headers()
        self.wfile.write(content[begin:][: served.break_at])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    served: Served


@contextlib.contextmanager
def running() -> Iterator[Served]:
    """Serves on 127.0.0.1 until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        served = server.served = Served()
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            if served.holds is not None:
                served.holds.set()
            server.shutdown()
            thread.join()


def packed(
    files: dict[str, bytes], changes: dict[str, Change] | None = None
) -> bytes:
    """Returns a .tar.gz of files, their headers changed first.

    What a change makes no regular file is written without its content.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if changes and name in changes:
                changes[name](info)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return made.getvalue()


def folder_content(folder: pathlib.Path, below: str) -> dict[str, bytes]:
    """Returns a folder's files as they stand in an archive of it."""
    return {
        f"{below}/{path.name}": path.read_bytes()
        for path in sorted(folder.iterdir())
    }


def zipped(content: bytes) -> bytes:
    """Returns content as gzip, whatever it is."""
    return gzip.compress(content)
