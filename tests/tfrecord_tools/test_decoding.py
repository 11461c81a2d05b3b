"""Images that Pillow forgives and TensorFlow does not."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import images


def _is_forgiven(path: pathlib.Path) -> bool:
    """Tells whether Pillow reads a file that TensorFlow refuses."""
    try:
        images.read(str(path), 10_000, needs_pixels=True)
    except images.ImageFault:
        return False
    try:
        tf.io.decode_image(path.read_bytes())
    except tf.errors.InvalidArgumentError:
        return True
    return False


@pytest.fixture
def forgiven(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> pathlib.Path:
    """Returns such a file, found by trying."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3), np.uint8)
    path = tmp_path / f"damaged.{request.param}"
    Image.fromarray(noise).save(path)
    sound = path.read_bytes()
    for start in range(len(sound) // 2, len(sound), 5):
        path.write_bytes(
            sound[:start] + b"\xff" * 4 + bytes(60) + sound[start + 64 :]
        )
        if _is_forgiven(path):
            return path
    for start in range(len(sound) - 12, len(sound) - 30, -1):
        path.write_bytes(sound[:start] + b"\xff" + sound[start + 1 :])
        if _is_forgiven(path):
            return path
    raise AssertionError("no damage that only TensorFlow refuses")


@pytest.mark.parametrize(
    ("forgiven", "num_workers"),
    [("jpg", 1), ("jpg", 2), ("png", 1)],
    indirect=["forgiven"],
)
def test_what_would_stop_a_training_is_rejected(
    tmp_path: pathlib.Path, forgiven: pathlib.Path, num_workers: int
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    dataset.add("good")
    dataset.annotate("bad", made_dataset.ALL_CLASSES, filename=forgiven.name)
    forgiven.rename(dataset.input / forgiven.name)
    flags = ("--max_rejects=0.5", f"--num_workers={num_workers}")
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    (example,) = manifest.rejects["images"]["image_cut_off_or_damaged"]
    assert example["file"] == "bad.json"
    assert "TensorFlow does not decode it" in example["detail"]
    assert "function_node" not in example["detail"]
    assert manifest.accounts["images"]["written"] == 1
    assert manifest.accounts["objects"]["rejected"] == {"image_rejected": 4}
    # Resized, it is encoded anew from what Pillow made of it.
    assert dataset.convert("--image_size=32x32", "--overwrite") == 0
    assert dataset.manifest().accounts["images"]["written"] == 2
