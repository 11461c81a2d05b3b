"""Fetches a file over HTTP and goes on where an earlier try broke off.

What has arrived lies beside as PATH.part, and PATH.part.json says of which
version of the file it is. A version that has no strong ETag and no date, or
that the server no longer has, is fetched from its beginning. Proxies are those
of the environment, as urllib.request takes them.
"""

from __future__ import annotations

import contextlib
import email.message
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

import tqdm

# A server that says nothing for so long is taken for dead.
_TIMEOUT_S = 30.0
_CHUNK = 1 << 16
_NUM_LINES = 10
_SCHEMES = ("http", "https")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class TransferError(Exception):
    """The file did not come.

    Attributes:
      is_partial: some of it did, and the next call goes on from there.
    """

    def __init__(self, reason: str, is_partial: bool = False) -> None:
        super().__init__(reason)
        self.is_partial = is_partial


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http and https, never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in _SCHEMES or (req.type, scheme) == ("https", "http"):
            raise TransferError(
                f"it redirects to {newurl!r}, which is not followed"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Progress:
    """A bar on a terminal, a line per tenth elsewhere."""

    def __init__(self, what: str, done: int, total: int | None) -> None:
        self._what, self._done, self._total = what, done, total
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                desc=what, initial=done, total=total, unit="B", unit_scale=True
            )

    def add(self, num_bytes: int) -> None:
        before, self._done = self._done, self._done + num_bytes
        if self._bar is not None:
            self._bar.update(num_bytes)
        elif self._total and (
            before * _NUM_LINES // self._total
            < self._done * _NUM_LINES // self._total
        ):
            print(
                f"{self._what}: {self._done / 1e6:.1f} of"
                f" {self._total / 1e6:.1f} MB",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _version(headers: email.message.Message) -> str | None:
    """Returns what If-Range takes; a weak ETag does not promise equal bytes."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")


def _earlier_try(url: str, part: str) -> tuple[int, str | None]:
    """Returns how many bytes lie beside, and of which version."""
    try:
        with open(f"{part}.json", encoding="utf-8") as file:
            kept = json.load(file)
        size = os.path.getsize(part)
    except (FileNotFoundError, ValueError):
        return 0, None
    if not isinstance(kept, dict) or kept.get("url") != url:
        return 0, None
    version = kept.get("version")
    if not isinstance(version, str) or size == 0:
        return 0, None
    return size, version


def _open(url: str, offset: int, version: str | None) -> Any:
    """Returns the server's answer; 416 is one, other errors raise."""
    if urllib.parse.urlsplit(url).scheme not in _SCHEMES:
        raise TransferError("only http and https are fetched")
    # Encoded on the way, lengths and offsets would be those of another file.
    request = urllib.request.Request(
        url, headers={"Accept-Encoding": "identity"}
    )
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", version or "")
    opener = urllib.request.build_opener(_Redirects)
    try:
        return opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error
        error.close()
        raise TransferError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise TransferError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(_text(error)) from error


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _place(response: Any) -> tuple[int, int | None]:
    """Returns where the answer's bytes begin, and the whole file's length.

    The place is -1 if the server says none.
    """
    length = response.headers.get("Content-Length", "")
    if response.status == http.HTTPStatus.OK:
        return 0, int(length) if length.isdigit() else None
    found = _CONTENT_RANGE.fullmatch(
        response.headers.get("Content-Range", "").strip()
    )
    if found is None:
        return -1, None
    begin = -1 if found[1] is None else int(found[1])
    return begin, None if found[2] == "*" else int(found[2])


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise TransferError(_text(error)) from error
        if not chunk:
            return
        yield chunk


def _receive(response: Any, part: str, offset: int, total: int | None) -> None:
    """Writes the answer behind the first `offset` bytes of the part."""
    name = os.path.basename(part).removesuffix(".part")
    progress = _Progress(f"fetching {name}", offset, total)
    reason = "the connection closed early"
    with open(part, "r+b" if offset else "wb") as file:
        file.seek(offset)
        try:
            for chunk in _chunks(response):
                file.write(chunk)
                progress.add(len(chunk))
        except TransferError as error:
            # Without a length only an error says that there is more to come.
            reason, total = str(error), -1 if total is None else total
        finally:
            progress.close()
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    if total is not None and size != total:
        of = f" of {total}" if total >= 0 else ""
        raise TransferError(
            f"{size}{of} bytes arrived, then: {reason}", is_partial=True
        )


def _finish(part: str, path: str) -> None:
    os.replace(part, path)
    handle = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(FileNotFoundError):
        os.remove(f"{part}.json")


def download(url: str, path: str) -> None:
    """Fetches url to path; what has that name is whole.

    Raises:
      TransferError: it did not come, or not all of it.
      OSError: the disk is full or not writable.
    """
    part = f"{path}.part"
    offset, version = _earlier_try(url, part)
    response = _open(url, offset, version)
    if offset and response.status != http.HTTPStatus.OK:
        begin, total = _place(response)
        if (begin, total) == (-1, offset):  # 416: all of it has arrived
            response.close()
            _finish(part, path)
            return
        # A server may know ranges and not If-Range.
        if begin != offset or _version(response.headers) != version:
            response.close()
            offset = 0
            response = _open(url, 0, None)
    with response:
        if response.status == http.HTTPStatus.OK:
            offset = 0
        elif not offset:
            raise TransferError(f"HTTP {response.status} was not asked for")
        if not offset:
            _begin(url, part, _version(response.headers))
        _receive(response, part, offset, _place(response)[1])
    _finish(part, path)


def _begin(url: str, part: str, version: str | None) -> None:
    """Empties the part, then says of which version it will be."""
    with open(part, "wb"), contextlib.suppress(FileNotFoundError):
        os.remove(f"{part}.json")
    if version is not None:
        with open(f"{part}.json", "w", encoding="utf-8") as file:
            json.dump({"url": url, "version": version}, file)
