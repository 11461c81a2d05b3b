"""Images to measure with: real photographs at the size of a camera's."""

from __future__ import annotations

import io
import json
import pathlib

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT / "examples" / "aimmo_street" / "images"
NUM_UNIQUE = 16
NOISE = 3.0  # standard deviation of a camera's noise, of 255


def _photograph(index: int, size: tuple[int, int]) -> Image.Image:
    """Returns an example photograph at a size, with noise as cameras have."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    with Image.open(paths[index % len(paths)]) as image:
        pixels = np.asarray(image.convert("RGB").resize(size), np.float32)
    noise = np.random.default_rng(index).normal(0, NOISE, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def make(
    folder: pathlib.Path, count: int, size: tuple[int, int], suffix: str
) -> pathlib.Path:
    """Writes images and their annotations: a few images, copied."""
    folder.mkdir()
    contents = []
    for index in range(min(count, NUM_UNIQUE)):
        file = io.BytesIO()
        image = _photograph(index, size)
        if suffix == "png":
            image.save(file, "PNG", compress_level=1)
        else:
            image.save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    names = ("car", "truck_s", "bus_l", "adult")
    for index in range(count):
        stem = f"{index:06d}"
        content = contents[index % len(contents)]
        (folder / f"{stem}.{suffix}").write_bytes(content)
        annotation = {
            "filename": f"{stem}.{suffix}",
            "parent_path": f"/batch/day/drive{index // 100}/FR",
            "size": f"{size[0]}*{size[1]}",
            "annotations": [
                {
                    "id": f"{index}-{place}",
                    "type": "bbox",
                    "label": "vehicle",
                    "attribute": names[place % len(names)],
                    "points": [[x, 9], [x + 40, 9], [x + 40, 80], [x, 80]],
                    "isfake": 0,
                    "truncation": 0,
                }
                for place, x in enumerate(range(0, 240, 30))
            ],
        }
        (folder / f"{stem}.json").write_text(json.dumps(annotation))
    return folder
