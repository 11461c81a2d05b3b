"""Published weights by name, from a server on loopback."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tarfile
import threading

import pytest

from efficientdet_aimmo.pretrained import download
from hparams import config, presets
from tests import served as served_lib
from tests.pretrained import published
from tfrecord_tools import command

NAME, PATH = published.NAME, published.PATH


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("efficientdet-d7x", "detector", "efficientdet/coco2/{}.tar.gz"),
        ("efficientdet-lite3x", "detector", "efficientdet/coco/{}.tgz"),
        ("efficientnet-b7", "backbone", "efficientnet/ckptsaug/{}.tar.gz"),
        ("efficientnet-lite0", "backbone", "efficientnet/lite/{}.tar.gz"),
    ],
)
def test_names_and_their_addresses(
    place: published.Place, name: str, kind: str, path: str
) -> None:
    assert download.kind_of(name) == kind
    message = place.fault(command.ExitCode.DATA, name)
    address = path.format(name)
    assert [asked for asked, _ in place.served.asked] == [f"/{address}"]
    # 404: address, reason, and where to put the file by which name.
    assert f"{place.served.url}/{address}: HTTP 404 Not Found" in message
    file = address.rpartition("/")[2]
    assert f"put it into {place.cache} as {file}" in message
    assert place.left() == []


def test_every_network_has_a_name_and_nothing_else() -> None:
    names = [*presets.MODEL_NAMES, *config.BACKBONES]
    assert all(download.is_name(name) for name in names)
    for text in ("", "d0", "./efficientdet-d0", "model", "EfficientDet-D0"):
        assert not download.is_name(text)


def test_whole_then_without_the_network(
    place: published.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = place.fetch()
    assert prefix == str(place.cache / NAME / NAME / "model")
    published.assert_whole(prefix)
    assert place.left() == [NAME, f"{NAME}.tar.gz"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"fetching {NAME}.tar.gz: 0.0 of 0.0 MB")
    assert 0 < len(lines) <= 10
    assert place.fetch() == prefix
    assert len(place.served.asked) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_what_was_placed_by_hand_is_used(
    place: published.Place, archive: bytes, checkpoint: pathlib.Path, kind: str
) -> None:
    place.cache.mkdir()
    if kind == "archive":
        place.file.write_bytes(archive)
    else:
        (place.cache / NAME).symlink_to(checkpoint)
    published.assert_whole(place.fetch())
    assert place.served.asked == []


def test_a_broken_transfer_goes_on_where_it_broke_off(
    place: published.Place, archive: bytes
) -> None:
    place.served.break_at = 1000
    message = place.fault(command.ExitCode.STOPPED)
    assert f"{PATH} broke off: 1000 of {len(archive)} bytes" in message
    assert "run the same command to go on" in message
    place.served.break_at = None
    published.assert_whole(place.fetch())
    assert place.served.asked == [(PATH, None), (PATH, "bytes=1000-")]
    assert place.file.read_bytes() == archive
    assert place.left() == [NAME, f"{NAME}.tar.gz"]


def test_an_older_python_is_refused(
    place: published.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    message = place.fault(command.ExitCode.DEVICE)
    assert "cannot unpack archives safely" in message
    assert place.served.asked == []


def test_limits_fit_the_published_archives() -> None:
    """d7x: 77.1 M weights with averages, momenta and the graph's text."""
    assert download._MOST_BYTES > 3 * 4 * 77_100_000 + (100 << 20)


def test_nothing_listens(tmp_path: pathlib.Path) -> None:
    with served_lib.running() as served:
        pass
    place = published.Place(served, tmp_path)
    message = place.fault(command.ExitCode.DATA)
    assert f"{served.url}{PATH}: [Errno 111] Connection refused" in message
    assert f"put it into {tmp_path} as {NAME}.tar.gz" in message


def test_an_unknown_name(place: published.Place) -> None:
    message = place.fault(command.ExitCode.USAGE, "efficientdet-d00")
    assert "'efficientdet-d00'. Did you mean 'efficientdet-d0'?" in message
    assert not place.cache.exists()


def test_a_cache_folder_that_cannot_be_written(place: published.Place) -> None:
    place.cache.write_text("a file")
    message = place.fault(command.ExitCode.DISK)
    assert f"cache folder {place.cache} cannot be used" in message


def test_a_shared_folder_needs_no_lock(place: published.Place) -> None:
    prefix = place.fetch()
    lock = place.cache / f".{NAME}.lock"
    lock.unlink()
    lock.mkdir()  # as little to be opened as a file of someone else's
    assert place.fetch() == prefix
    # Where something is to be written, it is.
    (place.cache / NAME).rename(place.cache / "other")
    assert "cannot be used" in place.fault(command.ExitCode.DISK)


_LOCK_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_another_process_is_waited_for(
    place: published.Place, archive: bytes, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place.cache.mkdir()
    lock = place.cache / f".{NAME}.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK_HOLDER, str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        say = download._say

        def release(message: str) -> None:
            # The other process ends its work only now.
            say(message)
            place.file.write_bytes(archive)
            assert other.stdin is not None
            other.stdin.write("\n")
            other.stdin.flush()

        monkeypatch.setattr(download, "_say", release)
        published.assert_whole(place.fetch())
    assert "waiting for another process" in capsys.readouterr().err
    assert place.served.asked == []


def test_several_at_once(place: published.Place) -> None:
    """Each opens the lock file itself, so threads exclude each other too."""
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(place.fetch()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(place.served.asked) == 1
    published.assert_whole(found[0])


def test_what_a_killed_process_left_is_cleared(place: published.Place) -> None:
    rest = place.cache / f".{NAME}.unpacking"
    rest.mkdir(parents=True)
    (rest / "half.index").write_text("")
    published.assert_whole(place.fetch())
    assert place.left() == [NAME, f"{NAME}.tar.gz"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"EFFICIENTDET_AIMMO_CACHE": "here", "HOME": "/h"}, "here"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/efficientdet_aimmo"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, "/h/.cache/efficientdet_aimmo"),
        ({"HOME": "/h"}, "/h/.cache/efficientdet_aimmo"),
    ],
)
def test_default_cache_dir(environment: dict[str, str], expected: str) -> None:
    assert download.default_cache_dir(environment) == expected
