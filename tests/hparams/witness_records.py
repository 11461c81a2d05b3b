"""What witnesses look at: a few records, and a network of three variables."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tfrecord_tools import schema

NUM_RECORDS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A data set, and one file of its records with a crowd in each."""

    train: source_lib.Source
    val: source_lib.Source
    truth: ground_truth_lib.GroundTruth
    crowded: str


def make_records(converted: pathlib.Path, folder: pathlib.Path) -> Records:
    """Returns the converted records; writes the crowded ones to folder."""
    train, val = (
        source_lib.open_source(f"{converted}/{split}*.tfrecord", "pattern")
        for split in ("train", "val")
    )
    crowded = str(folder / "crowded.tfrecord")
    with tf.io.TFRecordWriter(crowded) as writer:
        for record in tf.data.TFRecordDataset(train.files).take(NUM_RECORDS):
            example = tf.train.Example.FromString(record.numpy())
            feature = example.features.feature
            feature[schema.IS_CROWD].int64_list.value[0] = 1
            writer.write(example.SerializeToString())
    truth = ground_truth_lib.load(str(converted / "val.json"))
    return Records(train, val, truth, crowded)


class TinyNetwork(tf.Module):
    """In place of the detector where the detector is not the question.

    Its outputs follow from the images' mean colours; in training also from the
    pass's seed, as with stochastic depth. Its weights ask no configuration.
    """

    def __init__(self, config: config_lib.Config) -> None:
        super().__init__()
        num_anchors = len(
            anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
        )
        self.num_classes = config.model.num_classes
        self.batch_sizes: list[int] = []  # of calls outside of training
        draw = np.random.default_rng(1)
        shape = (num_anchors, self.num_classes + 4)
        self._offsets = draw.normal(size=shape).astype(np.float32)
        kernel = draw.normal(size=(3, self.num_classes + 4))
        self.kernel = tf.Variable(kernel.astype(np.float32), name="tiny/kernel")
        self.bias = tf.Variable(
            tf.zeros([self.num_classes + 4]), name="tiny/bias"
        )
        self.mean = tf.Variable(
            [0.0, 0.0, 0.0], trainable=False, name="tiny/moving_mean"
        )
        self.all_variables = [self.kernel, self.bias, self.mean]

    def forward(
        self, images: tf.Tensor, run: layers.ForwardPass
    ) -> detector_lib.Outputs:
        colours = tf.reduce_mean(images, [1, 2])
        run.updates.append(
            layers.Update(self.mean, tf.reduce_mean(colours, 0), 0.5)
        )
        both = (colours @ self.kernel + self.bias)[:, None] + self._offsets
        if run.seed is not None:
            both *= run.uniform([], run.seed)
        count = self.num_classes
        return detector_lib.Outputs(both[..., :count], both[..., count:])

    def __call__(
        self, images: tf.Tensor, training: bool
    ) -> detector_lib.Outputs:
        self.batch_sizes.append(images.shape[0])
        return self.forward(images, layers.ForwardPass(training=training))


def run_of(
    model_dir: str, train: source_lib.Source, measured: Records | None = None
) -> run_lib.Run:
    """Returns a run on one device.

    Args:
      model_dir: its folder.
      train: what it trains on.
      measured: on whose validation records it is measured; None: not at all.
    """
    return run_lib.Run(
        model_dir=model_dir,
        train=train,
        val=None if measured is None else measured.val,
        ground_truth=None if measured is None else measured.truth,
        warm_start=None,
        threads="",
        environment={},
        spread=replicas.single(),
    )
