"""Published weights that do not come whole, or are not what they should be."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests import served as served_lib
from tests.pretrained import published
from tfrecord_tools import command

NAME, PATH = published.NAME, published.PATH


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda good: good[: len(good) // 2], "Compressed file ended"),
        (lambda good: good[:-3], "Compressed file ended"),
        (lambda _: b"<html>Please log in</html>", "Not a gzipped file"),
        (lambda _: b"", "empty file"),
        (lambda _: served_lib.zipped(b"text" * 999), "no whole .tar.gz"),
        (
            lambda good: good[:-8] + b"\0" * 4 + good[-4:],
            "CRC check failed",
        ),
    ],
)
def test_damaged_archives(
    place: published.Place,
    archive: bytes,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes],
    reason: str,
) -> None:
    # In the cache: said, and fetched again.
    place.cache.mkdir()
    place.file.write_bytes(damage(archive))
    published.assert_whole(place.fetch())
    said = capsys.readouterr().err
    assert f"{place.file} is fetched again: it is no whole .tar.gz" in said
    assert reason in said
    assert len(place.served.asked) == 1
    # From the server: once, and nothing stays.
    (place.cache / "old").mkdir()
    for path in (place.cache / NAME, place.file):
        path.rename(place.cache / "old" / path.name)
    place.served.files[PATH] = damage(archive)
    assert reason in place.fault(command.ExitCode.DATA)
    assert len(place.served.asked) == 2
    assert place.left() == ["old"]


def test_a_damaged_file_stays_where_no_other_can_be_fetched(
    place: published.Place,
) -> None:
    place.cache.mkdir()
    place.file.write_bytes(b"damaged")
    place.served.files.clear()
    assert "HTTP 404" in place.fault(command.ExitCode.DATA)
    assert place.file.read_bytes() == b"damaged"


def _damaged_data(files: dict[str, bytes], cut: bool) -> dict[str, bytes]:
    name = next(n for n in files if ".data-" in n)
    data = bytearray(files[name])
    data[1000] ^= 1
    return {**files, name: bytes(data[:-9] if cut else data)}


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_checkpoint_in_a_whole_archive(
    place: published.Place, checkpoint: pathlib.Path, cut: bool
) -> None:
    files = served_lib.folder_content(checkpoint, NAME)
    place.served.files[PATH] = served_lib.packed(_damaged_data(files, cut))
    message = place.fault(command.ExitCode.DATA)
    assert "the checkpoint in it cannot be read" in message
    assert place.left() == []


def test_a_damaged_folder_is_unpacked_anew(
    place: published.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = place.fetch()
    data = pathlib.Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-9])
    published.assert_whole(place.fetch())
    assert f"{place.cache / NAME} is unpacked anew" in capsys.readouterr().err
    pathlib.Path(f"{prefix}.index").unlink()
    published.assert_whole(place.fetch())
    assert len(place.served.asked) == 1


@pytest.mark.parametrize("number", [0, 2])
def test_no_checkpoint_or_several(
    place: published.Place, checkpoint: pathlib.Path, number: int
) -> None:
    files = served_lib.folder_content(checkpoint, NAME)
    del files[f"{NAME}/checkpoint"]
    if number == 0:
        del files[f"{NAME}/model.index"]
    else:
        files[f"{NAME}/other.index"] = b""
        files[f"{NAME}/._model.index"] = b"written by a Mac"
    place.served.files[PATH] = served_lib.packed(files)
    message = place.fault(command.ExitCode.DATA)
    assert f"holds {number} TensorFlow checkpoints" in message
    if number:
        assert "['efficientdet-d0/model', 'efficientdet-d0/other']" in message
    assert place.left() == []


def test_the_file_checkpoint_chooses_among_several(
    place: published.Place, checkpoint: pathlib.Path
) -> None:
    files = served_lib.folder_content(checkpoint, NAME)
    files[f"{NAME}/other.index"] = b""
    place.served.files[PATH] = served_lib.packed(files)
    published.assert_whole(place.fetch())


def test_a_hostile_archive(
    place: published.Place, checkpoint: pathlib.Path
) -> None:
    files = served_lib.folder_content(checkpoint, NAME)
    hostile = served_lib.packed({**files, "../evil": b"evil"})
    place.served.files[PATH] = hostile
    message = place.fault(command.ExitCode.DATA)
    assert "'../evil' in it leads out of its folder" in message
    assert "Nothing of it was kept" in message
    assert place.left() == []
    assert list(place.cache.parent.iterdir()) == [place.cache]
    # In the cache: it may be the user's own, so it stays and is not used.
    place.file.write_bytes(hostile)
    message = place.fault(command.ExitCode.DATA)
    assert f"{place.file} is not used" in message
    assert "Remove the file" in message
    assert place.left() == [place.file.name]
    assert len(place.served.asked) == 1
