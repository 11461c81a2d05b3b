from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import images

MAX_PIXELS = 10_000


def _read(tmp_path: pathlib.Path, content: bytes) -> images.Photo:
    path = tmp_path / "image"
    path.write_bytes(content)
    return images.read(str(path), MAX_PIXELS, needs_pixels=True)


def _saved(image: Image.Image, file_format: str, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    if exif:
        image.save(buffer, file_format, exif=exif)
    else:
        image.save(buffer, file_format)
    return buffer.getvalue()


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_plain_image_keeps_its_bytes(
    tmp_path: pathlib.Path, file_format: str
) -> None:
    content = _saved(made_dataset.pixels(0), file_format, _orientation(1))
    photo = _read(tmp_path, content)
    assert photo.kept == (content, file_format.lower())
    encoded = images.encode(photo, "keep", 95)
    assert encoded.content == content
    assert (encoded.height, encoded.width) == (48, 64)
    assert encoded.format == file_format.lower()


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("1", "PNG"),
        ("RGB", "BMP"),
        ("RGB", "WEBP"),
        ("RGB", "TIFF"),
    ],
)
def test_other_images_become_rgb_jpegs(
    tmp_path: pathlib.Path, mode: str, file_format: str
) -> None:
    source = made_dataset.pixels(3).convert(mode)
    photo = _read(tmp_path, _saved(source, file_format))
    assert photo.kept is None
    difference = np.asarray(photo.image, int) - np.asarray(
        source.convert("RGB"), int
    )
    assert np.abs(difference).mean() < 3  # the file's own compression
    encoded = images.encode(photo, "keep", 95)
    decoded = Image.open(io.BytesIO(encoded.content))
    assert (encoded.format, decoded.mode, decoded.size) == (
        "jpeg",
        "RGB",
        (64, 48),
    )


def test_16_bit_grey_keeps_its_upper_byte(tmp_path: pathlib.Path) -> None:
    grey = np.arange(0, 65536, 65536 // 1024).astype(np.uint16)
    grey = grey.reshape(32, 32)
    content = _saved(Image.fromarray(grey), "PNG")
    rgb = np.asarray(_read(tmp_path, content).image)
    np.testing.assert_array_equal(rgb, np.stack([grey // 256] * 3, -1))


@pytest.mark.parametrize("value", range(2, 9))
def test_exif_orientation_is_applied_to_the_pixels(
    tmp_path: pathlib.Path, value: int
) -> None:
    upright = np.asarray(made_dataset.pixels(5))
    # What a camera stores so that the named operation shows it upright.
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright[:, ::-1], -1),
        8: np.rot90(upright, -1),
    }[value]
    image = Image.fromarray(np.ascontiguousarray(stored))
    photo = _read(tmp_path, _saved(image, "PNG", _orientation(value)))
    assert photo.kept is None
    np.testing.assert_array_equal(np.asarray(photo.image), upright)


@pytest.mark.parametrize("missing", [2, 14, 1000])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_cut_off_images_are_refused(
    tmp_path: pathlib.Path, file_format: str, missing: int
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), np.uint8)
    content = _saved(Image.fromarray(noise), file_format)
    with pytest.raises(images.ImageFault) as caught:
        _read(tmp_path, content[:-missing])
    assert caught.value.reason == "image_cut_off_or_damaged"
    assert _read(tmp_path, content + b"more").kept is not None


@pytest.mark.parametrize("content", [b"", b"no image", b"%!PS-Adobe-3.0\n"])
def test_what_is_no_image_is_refused(
    tmp_path: pathlib.Path, content: bytes
) -> None:
    with pytest.raises(images.ImageFault, match="cannot identify") as caught:
        _read(tmp_path, content)
    assert caught.value.reason == "not_an_image"


def test_large_images_are_refused_before_they_are_decoded(
    tmp_path: pathlib.Path,
) -> None:
    content = _saved(made_dataset.pixels(1, 101, 100), "PNG")
    # Cut off: decoding it would give another reason.
    with pytest.raises(images.ImageFault, match="101x100") as caught:
        _read(tmp_path, content[:100])
    assert caught.value.reason == "image_too_large"


def test_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(images.ImageFault, match="image_unreadable"):
        images.read(str(tmp_path / "none"), MAX_PIXELS, needs_pixels=True)


def test_pixels_that_are_fractions_are_refused(tmp_path: pathlib.Path) -> None:
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(images.ImageFault, match="pixels_not_understood"):
        _read(tmp_path, _saved(image, "TIFF"))


def test_resize_moves_the_boxes_with_the_pixels() -> None:
    array = np.zeros((40, 60, 3), np.uint8)
    array[10:20, 30:50] = 255
    image, boxes = images.resize(
        Image.fromarray(array), [(10.0, 30.0, 20.0, 50.0)], (80, 30), "stretch"
    )
    assert image.size == (30, 80)
    assert boxes == [(20.0, 15.0, 40.0, 25.0)]
    bright = np.argwhere(np.asarray(image)[..., 0] > 127)
    np.testing.assert_array_equal(bright.min(0), [20, 15])
    np.testing.assert_array_equal(bright.max(0) + 1, [40, 25])


@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((80, 60), (40, 60)),  # fill below
        ((40, 100), (40, 60)),  # fill at the right
        ((100, 90), (60, 90)),
        ((20, 33), (20, 30)),
        ((80, 120), (80, 120)),  # the same shape: no fill
        ((1, 600), (1, 2)),
        ((600, 1), (1, 1)),
    ],
)
def test_letterbox_keeps_the_shape(
    size: tuple[int, int], content: tuple[int, int]
) -> None:
    array = np.full((40, 60, 3), 255, np.uint8)
    boxes: list[images.Box] = [(0.0, 0.0, 40.0, 60.0), (10.0, 30.0, 20.0, 50.0)]
    image, moved = images.resize(
        Image.fromarray(array), boxes, size, images.LETTERBOX
    )
    pixels = np.asarray(image)
    assert pixels.shape == (*size, 3)
    height, width = content
    assert (pixels[:height, :width] == 255).all()
    assert (pixels[height:] == images.FILL).all()
    assert (pixels[:, width:] == images.FILL).all()
    assert moved[0] == pytest.approx((0, 0, height, width))
    assert moved[1] == pytest.approx(
        (height / 4, width / 2, height / 2, width * 5 / 6)
    )


def test_fill_is_what_the_network_takes_for_nothing() -> None:
    mean = np.array([0.485, 0.456, 0.406]) * 255
    assert np.abs(mean - images.FILL).max() <= 0.5


def test_plain_jpeg_stays_undecoded_where_its_bytes_are_kept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, turned, grey = (tmp_path / f"{n}.jpg" for n in ("a", "b", "c"))
    picture = Image.new("RGB", (40, 30), (200, 10, 10))
    picture.save(plain)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(turned, exif=exif)
    picture.convert("L").save(grey)
    decoded: list[str] = []
    load = JpegImagePlugin.JpegImageFile.load

    def noted(self: JpegImagePlugin.JpegImageFile) -> object:
        decoded.append(self.mode)
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", noted)
    found = images.read(str(plain), MAX_PIXELS, needs_pixels=False)
    assert decoded == []
    assert found.kept == (plain.read_bytes(), "jpeg")
    stored = images.encode(found, "keep", 95)
    assert (stored.height, stored.width) == (30, 40)
    assert stored.content == plain.read_bytes()
    # What is not kept byte by byte is decoded.
    for path in (turned, grey):
        again = images.read(str(path), MAX_PIXELS, needs_pixels=False)
        assert again.kept is None
    assert decoded
