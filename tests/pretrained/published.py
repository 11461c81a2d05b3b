"""A server of published weights, and a cache folder to fetch them into."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.pretrained import download
from tests import served as served_lib
from tfrecord_tools import command

NAME = "efficientdet-d0"
PATH = f"/efficientdet/coco2/{NAME}.tar.gz"
_WEIGHTS = np.arange(5000, dtype=np.float32)


def write_checkpoint(folder: pathlib.Path) -> None:
    """Writes a TensorFlow checkpoint as it is published."""
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model"),
        tensor_names=["a/kernel", "b"],
        shape_and_slices=["", ""],
        tensors=[tf.constant(_WEIGHTS), tf.constant([1, 2])],
    )
    # The official files name the place where they were written.
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "/far/away/model"\n'
    )


class Place(NamedTuple):
    """A server, a cache folder, and fetching from one into the other."""

    served: served_lib.Served
    cache: pathlib.Path

    @property
    def file(self) -> pathlib.Path:
        return self.cache / f"{NAME}.tar.gz"

    def fetch(self, name: str = NAME) -> str:
        return download.fetch(name, str(self.cache), base_url=self.served.url)

    def fault(self, code: command.ExitCode, name: str = NAME) -> str:
        with pytest.raises(command.UserError) as caught:
            self.fetch(name)
        assert caught.value.exit_code == code
        return str(caught.value)

    def left(self) -> list[str]:
        """Returns what lies in the cache folder, lock files excepted."""
        found = sorted(path.name for path in self.cache.iterdir())
        return [name for name in found if not name.endswith(".lock")]


def assert_whole(prefix: str) -> None:
    reader = tf.train.load_checkpoint(prefix)
    np.testing.assert_array_equal(reader.get_tensor("a/kernel"), _WEIGHTS)
