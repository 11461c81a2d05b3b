"""Figures from COCO JSON, and pictures of boxes."""

from __future__ import annotations

import base64
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrecord_tools import page_data, page_pictures


def _decoded(address: str | None) -> np.ndarray:
    assert address is not None
    content = base64.b64decode(address.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(content)), np.int64)


def test_box_is_drawn_where_it_is() -> None:
    file = io.BytesIO()
    Image.new("RGB", (400, 200), (0, 0, 90)).save(file, "PNG")
    # 80 x 40 at the middle: the picture shows 176 pixels around it.
    address = page_pictures.detail(
        file.getvalue(), (160.0, 80.0, 80.0, 40.0), 1 << 20
    )
    pixels = _decoded(address)
    assert pixels.shape == (160, 160, 3)
    is_red = (pixels[..., 0] > 180) & (pixels[..., 1] < 150)
    rows, columns = np.flatnonzero(is_red.any(1)), np.flatnonzero(is_red.any(0))
    scale = 160 / 176
    middle = 80
    assert abs(columns[0] - (middle - 40 * scale)) <= 2
    assert abs(columns[-1] - (middle + 40 * scale)) <= 2
    assert abs(rows[0] - (middle - 20 * scale)) <= 2
    assert abs(rows[-1] - (middle + 20 * scale)) <= 2


@pytest.mark.parametrize(
    "box",
    [(0.0, 0.0, 1.0, 1.0), (399.0, 199.0, 1.0, 1.0), (0.0, 0.0, 400.0, 200.0)],
)
def test_box_at_the_edge(box: tuple[float, float, float, float]) -> None:
    file = io.BytesIO()
    Image.new("L", (400, 200), 90).save(file, "JPEG")
    assert page_pictures.detail(file.getvalue(), box, 1 << 20) is not None
    assert page_pictures.detail(b"none", box, 1 << 20) is None
    assert page_pictures.whole(file.getvalue(), 400 * 200 - 1) is None


def _objects(path: pathlib.Path, count: int) -> None:
    content: dict[str, Any] = {
        "categories": [],
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, 9)],
        "annotations": [
            {"id": i, "image_id": 1 + i % 8, "category_id": 1 + (i == 5)}
            | {"bbox": [0, 0, 4, 9]}
            for i in range(count)
        ],
    }
    path.write_text(json.dumps(content))


def test_samples_are_few_and_evenly_chosen(tmp_path: pathlib.Path) -> None:
    counts = np.zeros(8)
    for number in range(1, 40):
        _objects(tmp_path / f"s{number}.json", 400)
        _, samples = page_data.collect(str(tmp_path), [f"s{number}"], 12)
        assert {k: len(v) for k, v in samples.items()} == {1: 12, 2: 1}
        for sample in samples[1]:
            counts[sample.image - 1] += 1
    # 39 draws of 12 among 8 images: 58.5 each, deviation below 8.
    assert counts.sum() == 39 * 12
    assert abs(counts - 58.5).max() < 4 * 8
