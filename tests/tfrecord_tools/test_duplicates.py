"""Images that look the same in two splits."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from tfrecord_tools import duplicates


def _scene(seed: int) -> Image.Image:
    """Returns a picture with edges everywhere, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    return coarse.resize((640, 400), Image.Resampling.BICUBIC)


def _distance(one: bytes, other: bytes) -> int:
    return (
        int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    ).bit_count()


def _hash(folder: pathlib.Path, image: Image.Image, suffix: str) -> bytes:
    path = folder / f"image.{suffix}"
    image.save(path)
    found = duplicates.image_hash(str(path), 10**6)
    assert found is not None
    return found


def test_bits_say_where_it_gets_lighter(tmp_path: pathlib.Path) -> None:
    # 9x9: as large as it is shrunk to, so each pixel is known.
    rng = np.random.default_rng(0)
    pixels = rng.permutation(np.arange(81, dtype=np.uint8)).reshape(9, 9)
    bits = ""
    for y in range(8):
        bits += "".join("01"[pixels[y, x + 1] > pixels[y, x]] for x in range(8))
    for y in range(8):
        bits += "".join("01"[pixels[y + 1, x] > pixels[y, x]] for x in range(8))
    found = _hash(tmp_path, Image.fromarray(pixels), "png")
    assert found == int(bits, 2).to_bytes(16, "big")


def test_changes_of_one_picture_are_near_and_others_far(
    tmp_path: pathlib.Path,
) -> None:
    for seed in range(2):
        scene = _scene(seed)
        at_first = _hash(tmp_path, scene, "png")
        buffer = io.BytesIO()
        scene.save(buffer, "JPEG", quality=40)
        near = {
            "brighter": scene.point(lambda v: min(255, v * 1.1)),
            "darker": scene.point(lambda v: v * 0.7),
            "lossy": Image.open(buffer),
            "right": scene.crop((2, 0, 640, 400)),
            "down": scene.crop((0, 2, 640, 400)),
            "grey": scene.convert("L"),
            "small": scene.resize((320, 200)),
        }
        for name, image in near.items():
            for suffix in ("bmp", "jpg"):
                found = _hash(tmp_path, image, suffix)
                assert _distance(at_first, found) <= 10, (seed, name)
        for other in range(3, 6):
            found = _hash(tmp_path, _scene(other), "png")
            assert _distance(at_first, found) > 30


def test_rotated_as_noted_in_the_file(tmp_path: pathlib.Path) -> None:
    scene = _scene(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    path = tmp_path / "turned.jpg"
    scene.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = duplicates.image_hash(str(path), 10**6)
    assert found is not None
    assert _distance(found, _hash(tmp_path, scene, "png")) <= 6


def test_what_cannot_be_read_has_no_hash(tmp_path: pathlib.Path) -> None:
    whole = tmp_path / "whole.png"
    _scene(0).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("no image")
    names = ["absent.png", "cut.png", "text.jpg", "whole.png"]
    found = duplicates.hash_images(str(tmp_path), names, 10**6, 1)
    assert list(found) == ["whole.png"]
    assert duplicates.hash_images(str(tmp_path), names, 999, 1) == {}


def _far_apart(rng: np.random.Generator, number: int) -> np.ndarray:
    return rng.integers(0, 256, (number, 16), np.uint8)


def test_pairs_are_those_of_a_count_of_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Blocks smaller than the data: pairs lie in several.
    monkeypatch.setattr(duplicates, "_ROWS", 16)
    monkeypatch.setattr(duplicates, "_COLUMNS", 32)
    rng = np.random.default_rng(0)
    values = _far_apart(rng, 120)
    for index in range(1, 120, 2):  # near ones, in 0 to 13 bits
        values[index] = values[index - 1]
        for bit in rng.choice(128, rng.integers(0, 14), replace=False):
            values[index, bit // 8] ^= 1 << (bit % 8)
    paths = [f"i{n:03}" for n in range(120)]
    hashes = {p: v.tobytes() for p, v in zip(paths, values, strict=True)}
    sides = {p: ("train", "val", "test")[n % 3] for n, p in enumerate(paths)}
    groups = {p: f"g{n // 5}" for n, p in enumerate(paths)}
    expected = sorted(
        (_distance(hashes[a], hashes[b]), a, b)
        for a in paths
        for b in paths
        if a < b
        and sides[a] != sides[b]
        and _distance(hashes[a], hashes[b]) <= 10
    )
    found = duplicates.find(hashes, sides, groups, 10)
    assert found.num_pairs == len(expected) > 20
    shown = [(p.distance, *sorted((p.first, p.second))) for p in found.examples]
    assert [s[0] for s in shown] == [e[0] for e in expected[:20]]
    assert set(shown) <= set(expected)
    assert found.links == {
        tuple(sorted((groups[a], groups[b]))) for _, a, b in expected
    }
    inside = {p for _, *pair in expected for p in pair}
    assert found.num_images == {
        name: sum(sides[p] == name for p in inside)
        for name in ("train", "val", "test")
    }
