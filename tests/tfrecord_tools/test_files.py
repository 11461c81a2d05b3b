from __future__ import annotations

import os
import pathlib
import unicodedata

import pytest

from tfrecord_tools import annotation, files


def test_finds_in_folders_but_not_in_the_output_or_behind_links(
    tmp_path: pathlib.Path,
) -> None:
    root = tmp_path / "in"
    for path in ("b/x.json", "a.JSON", "out/y.json", "b/c/p.PNG", "q.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/z.json").write_text("")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    found = files.find(str(root), str(root / "b/../out"), frozenset([".json"]))
    assert found == (["a.JSON", "b/x.json"], ["b/c/p.PNG"])


@pytest.mark.parametrize(
    ("file", "name", "drive", "expected"),
    [
        ("x.json", "a.png", None, "a.png"),
        # Another format than the name says, then the file's own stem.
        ("x.json", "a.jpg", None, "a.png"),
        ("b_1.json", "none.png", None, "b_1.jpg"),
        ("b_1.v2_done.json", None, None, "b_1.jpg"),
        # The folder, the part of a path, the drive.
        ("d2/cam/x.json", "c.png", None, "d2/cam/c.png"),
        ("labels/d2/cam/x.json", "c.png", None, "d2/cam/c.png"),
        ("x.json", "d1/cam/c.png", None, "d1/cam/c.png"),
        ("x.json", "c.png", "batch/d1", "d1/cam/c.png"),
    ],
)
def test_image_of_an_annotation(
    file: str, name: str | None, drive: str | None, expected: str
) -> None:
    index = files.ImageIndex(
        ["a.png", "b.jpg", "b_1.jpg", "d1/cam/c.png", "d2/cam/c.png"]
    )
    assert index.find(file, name, drive) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.png", "image_missing"),
        (None, "image_missing"),
        ("c.png", "image_ambiguous"),
        ("../a.png", "filename_leaves_folder"),
        (".", "filename_not_text"),
    ],
)
def test_image_that_cannot_be_told(name: str | None, reason: str) -> None:
    index = files.ImageIndex(["a.png", "d1/c.png", "d2/c.png"])
    with pytest.raises(annotation.AnnotationFault) as caught:
        index.find("x.json", name, None)
    assert caught.value.reason == reason


def test_korean_names_match_composed_or_not() -> None:
    name = "\ud55c\uad6d.png"
    decomposed = unicodedata.normalize("NFD", name)
    assert decomposed != name
    index = files.ImageIndex([decomposed])
    assert index.find("x.json", name, None) == decomposed


def test_names_that_are_not_utf8(tmp_path: pathlib.Path) -> None:
    name = os.fsdecode(b"\xff.json")
    (tmp_path / name).write_text("")
    assert files.fault(str(tmp_path), name) == "file_name_not_utf8"
    assert files.printable(name) == "\\udcff.json"


def test_what_is_no_file(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert files.fault(str(tmp_path), "pipe.json") == "not_a_file"
    (tmp_path / "x.json").write_text("")
    assert files.fault(str(tmp_path), "x.json") is None


def test_fingerprint_sees_what_changes(tmp_path: pathlib.Path) -> None:
    def now(*names: str) -> str:
        return files.fingerprint([(str(tmp_path), names)])

    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    first = now("a")
    assert now("a") == first
    assert now("a", "b") != first
    os.utime(tmp_path / "a", ns=(1, 1))
    assert now("a") != first
