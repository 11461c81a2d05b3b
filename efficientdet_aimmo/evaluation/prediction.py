"""A trained model_dir applied to image files."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from efficientdet_aimmo import pictures, weights
from efficientdet_aimmo.data import decode, open_image
from efficientdet_aimmo.diagnosis import gate
from efficientdet_aimmo.evaluation import coco, saved
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import progress as progress_lib
from efficientdet_aimmo.evaluation import report as report_lib
from hparams import config as config_lib
from tfrecord_tools import command, storage

RESULTS = "detections.json"
_PICTURES = "pictures"


def find_images(path: str, output_dir: str) -> tuple[pathlib.Path, list[str]]:
    """Returns a folder and the image files below it, sorted.

    Args:
      path: an image, or a folder that is searched with its subfolders.
      output_dir: a folder that is left out, so that pictures drawn before are
        no input.

    Raises:
      UserError: there is nothing at the path, or no image in the folder.
    """
    root = pathlib.Path(path)
    if root.is_file():
        return root.parent, [root.name]
    if not root.is_dir():
        raise command.UserError(
            command.ExitCode.DATA,
            f"--image={path} does not exist. Expected an image or a folder.",
        )
    excluded = pathlib.Path(output_dir).resolve()
    names = [
        found.relative_to(root).as_posix()
        for found in root.rglob("*")
        if found.suffix.lower() in open_image.SUFFIXES
        and found.is_file()
        and not found.resolve().is_relative_to(excluded)
    ]
    if not names:
        raise command.UserError(
            command.ExitCode.DATA,
            f"--image={path} has no image. Expected files ending in"
            f" {', '.join(open_image.SUFFIXES)}.",
        )
    return root, sorted(names)


@functools.cache
def _preparation(
    data: config_lib.Data,
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns decode.prepare_image as one graph for images of all sizes."""
    return tf.function(
        lambda image: decode.prepare_image(image, data),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        autograph=False,
    )


def detect(
    evaluator: evaluator_lib.Evaluator,
    image: np.ndarray,
    data: config_lib.Data,
) -> coco.ImageDetections:
    """Returns the detections in one image, as evaluation would find them.

    Args:
      evaluator: the detector.
      image: [h, w, 3] uint8.
      data: the detector's input.
    """
    placed, scale = _preparation(data)(tf.constant(image))
    sizes = tf.constant([image.shape[:2]], tf.int32)
    return evaluator.detect(placed[None], scale[None], sizes)[0]


def save_picture(picture: Image.Image, path: pathlib.Path) -> None:
    """Writes a picture as JPEG, and the folders above it.

    Raises:
      UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "JPEG", quality=90)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"{path} cannot be written ({error.strerror or error}). Make room"
            " or choose another --output_dir.",
        ) from error


def refuse_remote(output_dir: str) -> None:
    """Raises UserError if pictures would have to go to an object store."""
    if storage.is_remote(output_dir):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--output_dir={output_dir} is in an object store. Pictures are"
            " written to this machine's disk: choose a folder there.",
        )


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raises UserError if an output is there and not to be replaced."""
    if os.path.exists(path) and not overwrite:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{path} exists. Choose another --output_dir, or give --overwrite.",
        )


def _named(
    rows: list[dict[str, Any]], file_name: str, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "file_name": file_name,
            "category_name": class_names[row["category_id"] - 1],
        }
        for row in rows
    ]


def _detect_all(
    root: pathlib.Path,
    names: Sequence[str],
    model: weights.LoadedModel,
    threshold: float,
    picture_dir: pathlib.Path,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Draws all images; returns COCO results, and which images have faults."""
    config = model.config
    evaluator = evaluator_lib.Evaluator(
        weights.frozen(model.detector, config.data.image_size),
        config,
        model.class_names,
    )
    progress = progress_lib.Progress("detecting")
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    for number, name in enumerate(names, start=1):
        try:
            pixels = open_image.open_rgb(str(root / name))
        except open_image.ImageError as error:
            faults.append(f"{name} ({error})")
        else:
            found = detect(evaluator, pixels, config.data)
            own = coco.results({number: found})
            rows += _named(own, name, model.class_names)
            picture = pictures.draw_detections(
                pixels, found, model.class_names, threshold
            )
            save_picture(picture, picture_dir / f"{name}.jpg")
        progress(number, len(names))
    return rows, faults


def predict(
    *,
    model_dir: str,
    checkpoint_path: str | None,
    image: str,
    output_dir: str,
    min_score: float | None,
    overwrite: bool,
    allow_cpu: bool,
    environment: Mapping[str, str],
) -> str:
    """Detects in images, writes results and pictures, and returns a summary.

    Args:
      model_dir: what training wrote.
      checkpoint_path: a checkpoint; the newest of model_dir if None.
      image: an image or a folder of images.
      output_dir: gets detections.json and a picture of each image.
      min_score: drawn from this score on; the results hold all detections.
      overwrite: replace earlier results.
      allow_cpu: whether to compute without a GPU.
      environment: the process's environment variables.

    Raises:
      UserError: nothing to read, nowhere to write; or, after all others are
        done, that some images could not be read.
    """
    refuse_remote(output_dir)
    results_path = os.path.join(output_dir, RESULTS)
    refuse_existing(results_path, overwrite)
    root, names = find_images(image, output_dir)
    gate.require_gpu(allow_cpu=allow_cpu, environment=environment)
    model = weights.load_detector(model_dir, checkpoint_path)
    threshold = saved.drawing_threshold(model_dir, min_score)
    picture_dir = pathlib.Path(output_dir, _PICTURES)
    rows, faults = _detect_all(root, names, model, threshold, picture_dir)
    lines = ",\n".join(json.dumps(row) for row in rows)
    report_lib.write_whole(results_path, f"[\n{lines}\n]\n")
    if faults:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{len(faults)} of {len(names)} images cannot be read; the others"
            f" are in {output_dir}:\n  " + "\n  ".join(faults),
        )
    return (
        f"{len(names)} images, {len(rows)} detections in {results_path};"
        f" pictures from score {threshold:.2f} on in {picture_dir}"
    )
