"""Small data sets made for a test, and the command run on them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tfrecord_tools import command, convert, schema

WIDTH, HEIGHT = 64, 48


def box(
    attribute: str,
    x_min: float,
    y_min: float,
    x_max: float,
    y_max: float,
    **other: Any,
) -> dict[str, Any]:
    """Returns one object as AIMMO writes it."""
    return {
        "id": f"id-{attribute}-{x_min}",
        "type": "bbox",
        "label": "vehicle",
        "attribute": attribute,
        "points": [
            [x_min, y_min],
            [x_max, y_min],
            [x_max, y_max],
            [x_min, y_max],
        ],
        "occlusion": 0,
        "truncation": 0,
        "isfake": 0,
        **other,
    }


# One object of each class: what a data set needs to be accepted.
ALL_CLASSES = [
    box("car", 1, 2, 21, 22),
    box("truck_s", 5, 5, 25, 30),
    box("bus_l", 10, 8, 60, 40),
    box("adult", 30, 10, 36, 30),
]


def pixels(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Returns a smooth picture that differs with the seed."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize((width, height))


class Dataset:
    """A folder of annotations and images, and one for the output."""

    def __init__(self, root: pathlib.Path) -> None:
        self.input = root / "in"
        self.output = root / "out"
        self.input.mkdir()
        self._count = 0

    def add(
        self,
        stem: str,
        annotations: Sequence[Any] | None = ALL_CLASSES,
        **top: Any,
    ) -> pathlib.Path:
        """Adds a JPEG and its annotation; returns the annotation file."""
        self._count += 1
        picture = self.input / f"{stem}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        pixels(self._count).save(picture)
        return self.annotate(stem, annotations, **top)

    def annotate(
        self, stem: str, annotations: Sequence[Any] | None, **top: Any
    ) -> pathlib.Path:
        """Adds an annotation alone; returns its file."""
        path = self.input / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        name = pathlib.PurePath(stem).name
        content = {
            "filename": f"{name}.jpg",
            "parent_path": f"/batch/day/{name}/FR-View-CMR-Wide",
            "size": f"{WIDTH}*{HEIGHT}",
            "annotations": annotations,
            **top,
        }
        path.write_text(json.dumps(content))
        return path

    def convert(self, *flags: str) -> int:
        """Runs the command in this process; returns its exit code."""
        argv = [
            "convert",
            f"--input_dir={self.input}",
            f"--output_dir={self.output}",
            "--num_workers=1",
            *flags,
        ]
        return command.run(convert.main, convert.FLAGS, "usage", argv)

    def manifest(self) -> schema.Manifest:
        """Returns what the last conversion wrote."""
        path = self.output / schema.MANIFEST_NAME
        return schema.parse_manifest(path.read_text(), str(path))

    def final_names(self) -> list[str]:
        """Returns all that is in the output folder."""
        if not self.output.exists():
            return []
        return sorted(path.name for path in self.output.iterdir())
