"""Archives that are not what they should be."""

from __future__ import annotations

import io
import pathlib
import re
import tarfile

import pytest

from efficientdet_aimmo import archives
from tests import served as served_lib

GOOD = {"model/a": b"first", "model/b/c": b"second"}


class Unpacker:
    """Unpacks content into a folder within another."""

    def __init__(self, parent: pathlib.Path) -> None:
        self.folder = parent / "outer" / "folder"
        self.folder.mkdir(parents=True)
        self._parent = parent
        self._path = parent / "archive.tar.gz"

    def unpack(self, content: bytes) -> None:
        self._path.write_bytes(content)
        archives.unpack(
            str(self._path),
            str(self.folder),
            most_bytes=1 << 20,
            most_members=50,
        )

    def outside(self) -> list[str]:
        """Returns the paths outside the folder."""
        return sorted(
            str(path.relative_to(self._parent))
            for path in self._parent.rglob("*")
            if not path.is_relative_to(self.folder)
        )


@pytest.fixture
def unpacker(tmp_path: pathlib.Path) -> Unpacker:
    return Unpacker(tmp_path)


def test_files_and_folders(unpacker: Unpacker) -> None:
    unpacker.unpack(served_lib.packed(GOOD))
    for name, content in GOOD.items():
        assert (unpacker.folder / name).read_bytes() == content


@pytest.mark.parametrize("cut", [1, 8, 9, 100])
def test_truncated(unpacker: Unpacker, cut: int) -> None:
    with pytest.raises(archives.DamagedArchive, match="no whole .tar.gz"):
        unpacker.unpack(served_lib.packed(GOOD)[:-cut])


def _kind(kind: bytes, link: str = "") -> served_lib.Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, link, 0

    return change


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("../evil", None, "'../evil' in it leads out"),
        ("a/../../evil", None, "leads out"),
        ("/evil", None, "leads out"),
        ("link", _kind(tarfile.SYMTYPE, "../.."), "is a link to '../..'"),
        ("link", _kind(tarfile.LNKTYPE, "/etc/passwd"), "is a link"),
        ("link", _kind(tarfile.SYMTYPE, "model.index"), "is a link"),
        ("tty", _kind(tarfile.CHRTYPE), "neither a file nor a folder"),
        ("disk", _kind(tarfile.BLKTYPE), "neither a file nor a folder"),
        ("pipe", _kind(tarfile.FIFOTYPE), "neither a file nor a folder"),
    ],
)
def test_hostile_members(
    unpacker: Unpacker,
    name: str,
    change: served_lib.Change | None,
    reason: str,
) -> None:
    before = unpacker.outside()
    content = served_lib.packed(
        {**GOOD, name: b"evil"}, {name: change} if change else None
    )
    with pytest.raises(archives.HostileArchive, match=re.escape(reason)):
        unpacker.unpack(content)
    added = {"archive.tar.gz"}
    assert set(unpacker.outside()) == {*before, *added}
    assert not (unpacker.folder / name).is_symlink()


def _header_of_length(kind: bytes, length: int) -> bytes:
    """Returns a .tar.gz that is one header with a made-up length."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, length
    header = info.tobuf(tarfile.GNU_FORMAT)
    return served_lib.zipped(header + bytes(tarfile.RECORDSIZE))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            served_lib.packed({"zeros": bytes(2 << 20)}),
            "unpacks to more than 1048576 bytes",
        ),
        (
            served_lib.packed({f"{i}": b"" for i in range(51)}),
            "has more than 50 members",
        ),
        (
            _header_of_length(tarfile.REGTYPE, 1 << 40),
            "unpacks to more than 1048576 bytes",
        ),
        # Such headers are read whole, before anything can be looked at.
        (
            _header_of_length(tarfile.XHDTYPE, 1 << 40),
            "a header in it has an impossible length",
        ),
        (
            _header_of_length(tarfile.GNUTYPE_LONGNAME, -(1 << 20)),
            "a header in it has an impossible length",
        ),
        (_header_of_length(tarfile.REGTYPE, -1024), "has the size -1024"),
    ],
    # Not the archives themselves: gzip writes the time into them.
    ids=["large", "many", "long", "long header", "long name", "negative"],
)
def test_bombs(unpacker: Unpacker, content: bytes, reason: str) -> None:
    with pytest.raises(archives.HostileArchive, match=reason):
        unpacker.unpack(content)
    files = [p for p in unpacker.folder.rglob("*") if p.is_file()]
    assert sum(path.stat().st_size for path in files) <= 1 << 20


def test_zeros_behind_the_archive_are_a_bomb_too(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MOST_READ", 1 << 20)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    content = served_lib.zipped(made.getvalue() + bytes(4 << 20))
    with pytest.raises(archives.HostileArchive, match="more than"):
        unpacker.unpack(content)


def test_members_that_contradict_each_other(unpacker: Unpacker) -> None:
    content = served_lib.packed({"x": b"file", "x/y": b"below it"})
    with pytest.raises(archives.DamagedArchive, match="contradicts itself"):
        unpacker.unpack(content)
