"""Fetching a file over HTTP, from a server on loopback."""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from efficientdet_aimmo import transfer
from tests import served as served_lib

PATH = "/folder/file.bin"
CONTENT = bytes(range(256)) * 1000


class Place(NamedTuple):
    """A server, and the file that is fetched from it."""

    served: served_lib.Served
    file: pathlib.Path

    @property
    def part(self) -> pathlib.Path:
        return self.file.with_name("file.bin.part")

    @property
    def state(self) -> pathlib.Path:
        return self.file.with_name("file.bin.part.json")

    def fetch(self) -> None:
        """Fetches the file, which must come, and must be all that is left."""
        transfer.download(f"{self.served.url}{PATH}", str(self.file))
        assert self.file.read_bytes() == CONTENT
        assert list(self.file.parent.iterdir()) == [self.file]

    def fault(self, is_partial: bool = False) -> str:
        with pytest.raises(transfer.TransferError) as caught:
            self.fetch()
        assert caught.value.is_partial == is_partial
        assert not self.file.exists()
        return str(caught.value)

    def leave(self, part: bytes, version: str = '"one"') -> None:
        """Leaves what an earlier process would have."""
        self.part.write_bytes(part)
        state = {"url": f"{self.served.url}{PATH}", "version": version}
        self.state.write_text(json.dumps(state))

    def asked(self) -> list[str | None]:
        return [found for _, found in self.served.asked]


@pytest.fixture
def place(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    # Whatever proxy the machine has, loopback is not asked through it.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served_lib.running() as served:
        served.files[PATH] = CONTENT
        yield Place(served, tmp_path / "file.bin")


def test_whole(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.fetch()
    assert place.asked() == [None]
    # 65536 bytes at a time, and a line where a tenth is passed.
    assert capsys.readouterr().err.splitlines() == [
        f"fetching file.bin: {done} of 0.3 MB"
        for done in ("0.1", "0.1", "0.2", "0.3")
    ]


@pytest.mark.parametrize("size", [1, 100_000, len(CONTENT) - 1])
def test_goes_on_where_it_broke_off(place: Place, size: int) -> None:
    place.served.break_at = size
    message = place.fault(is_partial=True)
    assert message == (
        f"{size} of 256000 bytes arrived, then: the connection closed early"
    )
    assert place.part.read_bytes() == CONTENT[:size]
    place.served.break_at = None
    place.fetch()
    assert place.asked() == [None, f"bytes={size}-"]


def test_goes_on_twice(place: Place) -> None:
    place.served.break_at = 1000
    for _ in range(2):
        place.fault(is_partial=True)
    place.served.break_at = None
    place.fetch()
    assert place.asked() == [None, "bytes=1000-", "bytes=2000-"]


def test_all_had_arrived_but_the_name(place: Place) -> None:
    """The process was killed before it gave the file its name."""
    place.leave(CONTENT)
    place.fetch()
    assert place.asked() == ["bytes=256000-"]


@pytest.mark.parametrize(
    "change",
    [
        {"knows_ranges": False},  # 200
        {"etag": '"two"'},  # 200
        {"etag": '"two"', "knows_if_range": False},  # 206 of another version
    ],
)
def test_what_cannot_go_on_begins_anew(
    place: Place, change: dict[str, object]
) -> None:
    place.leave(CONTENT[1000::-1])
    for name, value in change.items():
        setattr(place.served, name, value)
    place.fetch()
    assert place.asked()[0] == "bytes=1001-"
    is_asked_again = change.get("knows_if_range") is False
    assert place.asked()[1:] == ([None] if is_asked_again else [])


def test_a_longer_part_begins_anew(place: Place) -> None:
    place.leave(CONTENT + b"more")
    place.fetch()
    assert place.asked() == ["bytes=256004-", None]


@pytest.mark.parametrize(
    "state", ["", "[]", "{}", '{"url": "other", "version": "1"}', None]
)
def test_a_part_of_an_unknown_version_begins_anew(
    place: Place, state: str | None
) -> None:
    place.part.write_bytes(b"something")
    if state is not None:
        place.state.write_text(state)
    place.fetch()
    assert place.asked() == [None]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_server_without_versions_is_never_continued(
    place: Place, etag: str | None
) -> None:
    place.leave(CONTENT[:5])
    place.state.unlink()
    place.served.etag = etag
    place.served.break_at = 1000
    place.fault(is_partial=True)
    place.served.break_at = None
    place.fetch()
    assert place.asked() == [None, None]


def test_fewer_bytes_than_announced(place: Place) -> None:
    place.served.surplus = 7
    message = place.fault(is_partial=True)
    assert message.startswith("256000 of 256007 bytes arrived")


def test_a_part_of_a_longer_file_is_cut(place: Place) -> None:
    """Begun anew, nothing of the older, longer part is left behind."""
    place.leave(bytes(300_000), '"two"')
    place.fetch()


@pytest.mark.parametrize("status", [403, 500])
def test_http_errors(place: Place, status: int) -> None:
    place.served.status = status
    assert place.fault().startswith(f"HTTP {status} ")


def test_nothing_listens(tmp_path: pathlib.Path) -> None:
    with served_lib.running() as served:
        pass
    message = Place(served, tmp_path / "file.bin").fault()
    assert message == "[Errno 111] Connection refused"


def test_a_silent_server(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_TIMEOUT_S", 0.1)
    place.served.holds = threading.Event()
    assert "timed out" in place.fault()


def test_an_answer_that_is_no_http(place: Place) -> None:
    place.served.raw = b"SSH-2.0-OpenSSH_8.9\r\n"
    assert "SSH-2.0" in place.fault()


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/"]
)
def test_redirects_to_other_schemes_are_refused(
    place: Place, target: str
) -> None:
    place.served.redirect = target
    assert target in place.fault()
    assert list(place.file.parent.iterdir()) == []


def test_redirects_within_http_are_followed(place: Place) -> None:
    with served_lib.running() as other:
        other.files["/elsewhere"] = CONTENT
        place.served.redirect = f"{other.url}/elsewhere"
        place.fetch()


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_other_schemes_are_refused(place: Place, scheme: str) -> None:
    place.served.url = f"{scheme}://127.0.0.1/x"
    assert place.fault() == "only http and https are fetched"


def test_the_environments_proxy_is_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", place.served.url)
    place.served.files[f"http://far.invalid{PATH}"] = CONTENT
    place.served.url = "http://far.invalid"
    place.fetch()
