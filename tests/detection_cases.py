"""A converted data set of three small drawings, and a tiny detector."""

from __future__ import annotations

import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import weights
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config
from tfrecord_tools import command, convert

CLASSES = ("car", "pedestrian")
# Per image: width and height, then class, x, y, width and height of objects.
IMAGES: dict[str, tuple[tuple[int, int], list[tuple[str, list[int]]]]] = {
    "wide": ((96, 48), [("car", [8, 10, 40, 24]), ("adult", [70, 5, 12, 40])]),
    "tall": ((50, 80), [("car", [5, 30, 40, 40])]),
    "square": ((64, 64), [("adult", [20, 10, 18, 50])]),
}


def tiny_config() -> config.Config:
    """A network that runs in milliseconds and answers above score 0.001."""
    return config.Config(
        model=config.Model(
            num_classes=len(CLASSES),
            fpn_num_filters=8,
            fpn_cell_repeats=1,
            box_class_repeats=1,
        ),
        data=config.Data(image_size=(64, 96)),
        nms=config.Nms(max_output_size=10),
        eval=config.Eval(eval_batch_size=1),
    )


def lively_detector(seed: int) -> detector_lib.Detector:
    """A detector whose outputs depend visibly on the image."""
    detector = detector_lib.Detector(tiny_config())
    draw = np.random.default_rng(seed)
    for variable in detector.all_variables:
        if "predict" in variable.name and "kernel" in variable.name:
            noise = draw.normal(size=variable.shape)
            variable.assign((noise * 0.5).astype(np.float32))
    return detector


class LightDetector:
    """A linear map of a few image patches: quick to trace, no learning."""

    def __init__(self) -> None:
        config = tiny_config()
        self._num_anchors = len(
            anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
        )
        draw = np.random.default_rng(1)
        shape = (4 * 6 * 3, self._num_anchors * (len(CLASSES) + 4))
        self._weights = (draw.normal(size=shape) * 0.3).astype(np.float32)

    def __call__(
        self, images: tf.Tensor, training: bool
    ) -> detector_lib.Outputs:
        patches = tf.reshape(
            tf.nn.avg_pool2d(images, 16, 16, "VALID"), [-1, 72]
        )
        both = tf.reshape(
            patches @ self._weights, [-1, self._num_anchors, len(CLASSES) + 4]
        )
        return detector_lib.Outputs(both[..., :-4] - 1.0, both[..., -4:] * 0.1)


Detector = detector_lib.Detector | LightDetector


def put_in_place_of_checkpoints(
    monkeypatch: pytest.MonkeyPatch, detector: Detector
) -> list[tuple[str, str | None]]:
    """Lets every model_dir hold the detector; returns the list of calls."""
    calls = []

    def load(model_dir: str, path: str | None) -> types.SimpleNamespace:
        calls.append((model_dir, path))
        return types.SimpleNamespace(
            detector=detector,
            config=tiny_config(),
            class_names=CLASSES,
            step=7,
        )

    monkeypatch.setattr(weights, "load_detector", load)
    return calls


def _annotation(number: int, label: str, box: list[int]) -> dict[str, object]:
    x, y, width, height = box
    right, bottom = x + width, y + height
    return {
        "id": f"a{number}",
        "type": "bbox",
        "label": "vehicle",
        "attribute": label,
        "points": [[x, y], [right, y], [right, bottom], [x, bottom]],
        "isfake": 0,
    }


def write_annotations(folder: pathlib.Path) -> None:
    """Writes the images as PNG, with AIMMO annotations beside them."""
    draw = np.random.default_rng(3)
    folder.mkdir(parents=True)
    for name, ((width, height), objects) in IMAGES.items():
        pixels = draw.integers(0, 90, (height, width, 3), np.uint8)
        for label, (x, y, w, h) in objects:
            colour = (230, 60, 40) if label == "car" else (40, 90, 240)
            pixels[y : y + h, x : x + w] = colour
        Image.fromarray(pixels).save(folder / f"{name}.png")
        content = {
            "filename": f"{name}.png",
            "parent_path": f"/batch/day/{name}/FR-View-CMR-Wide",
            "size": f"{width}*{height}",
            "annotations": [
                _annotation(number, label, box)
                for number, (label, box) in enumerate(objects)
            ],
        }
        (folder / f"{name}.json").write_text(json.dumps(content))


def convert_all(folder: pathlib.Path, output: pathlib.Path) -> None:
    """Converts the annotations, the same images for training and validation."""
    arguments = [
        "convert",
        f"--input_dir={folder}",
        f"--output_dir={output}",
        f"--classes={','.join(CLASSES)}",
        "--eval_on_train",
        "--num_shards=1",
        "--num_workers=1",
    ]
    assert command.run(convert.main, convert.FLAGS, "", arguments) == 0
