"""Image files of every kind, against the pixels they were made from."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from efficientdet_aimmo.data import open_image

ORIENTATION = 0x0112


@pytest.fixture
def pixels() -> np.ndarray:
    """A picture of 4 colours, 12 high and 20 wide."""
    image = np.zeros((12, 20, 3), np.uint8)
    image[:6, :10] = (250, 10, 20)
    image[:6, 10:] = (10, 240, 30)
    image[6:, :10] = (20, 30, 230)
    image[6:, 10:] = (200, 190, 40)
    return image


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif"])
def test_rgb(tmp_path: pathlib.Path, pixels: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    opened = open_image.open_rgb(str(path))
    assert opened.dtype == np.uint8
    np.testing.assert_array_equal(opened, pixels)


def test_greyscale(tmp_path: pathlib.Path) -> None:
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    opened = open_image.open_rgb(str(tmp_path / "grey.png"))
    np.testing.assert_array_equal(opened, np.stack([grey] * 3, axis=-1))


def test_16_bit_keeps_the_upper_8(tmp_path: pathlib.Path) -> None:
    deep = np.array([[0, 255, 256], [4660, 65279, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    opened = open_image.open_rgb(str(tmp_path / "deep.png"))
    np.testing.assert_array_equal(opened[..., 0], [[0, 0, 1], [18, 254, 255]])
    assert (opened[..., 0] == opened[..., 2]).all()


def test_palette(tmp_path: pathlib.Path, pixels: np.ndarray) -> None:
    path = tmp_path / "palette.png"
    Image.fromarray(pixels).quantize(8).save(path)
    with Image.open(path) as image:
        assert image.mode == "P"
    opened = open_image.open_rgb(str(path)).astype(int)
    assert np.abs(opened - pixels).max() <= 4


def test_alpha_is_dropped(tmp_path: pathlib.Path, pixels: np.ndarray) -> None:
    alpha = np.full((12, 20, 1), 100, np.uint8)
    image = Image.fromarray(np.concatenate([pixels, alpha], axis=-1))
    image.save(tmp_path / "alpha.png")
    opened = open_image.open_rgb(str(tmp_path / "alpha.png"))
    np.testing.assert_array_equal(opened, pixels)


def test_cmyk(tmp_path: pathlib.Path, pixels: np.ndarray) -> None:
    path = tmp_path / "cmyk.jpg"
    Image.fromarray(pixels).convert("CMYK").save(path, quality=100)
    opened = open_image.open_rgb(str(path)).astype(int)
    assert opened.shape == (12, 20, 3)
    assert np.abs(opened - pixels)[2:4, 2:8].max() <= 8


# What a viewer must do to the stored pixels, by EXIF's orientation.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_turned_as_exif_says(
    tmp_path: pathlib.Path, pixels: np.ndarray, orientation: int
) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    np.testing.assert_array_equal(
        open_image.open_rgb(str(path)), TURNS[orientation](pixels)
    )


def test_files_that_are_no_images(
    tmp_path: pathlib.Path, pixels: np.ndarray
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(open_image.ImageError, match="cannot identify"):
        open_image.open_rgb(str(text))
    whole = tmp_path / "whole.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(open_image.ImageError, match="truncated"):
        open_image.open_rgb(str(cut))
    with pytest.raises(open_image.ImageError, match="No such file"):
        open_image.open_rgb(str(tmp_path / "none.png"))
    fractions = tmp_path / "fractions.tif"
    Image.fromarray(np.zeros((4, 4), np.float32)).save(fractions)
    with pytest.raises(open_image.ImageError, match="fractions"):
        open_image.open_rgb(str(fractions))
