"""What a run works on, beside its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from efficientdet_aimmo import shares
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.pretrained import warm_start as warm_start_lib
from hparams import config as config_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run works on, beside its configuration.

    Attributes:
      model_dir: where the chief writes; it holds the folder's lock.
      train: the training records, checked.
      val: the validation records, checked; None trains without measuring.
      ground_truth: of the validation records.
      warm_start: weights to begin with; None begins from the seed.
      threads: CPU threads and oneDNN setting.
      environment: the process's environment variables.
      spread: the devices.
    """

    model_dir: str
    train: source_lib.Source
    val: source_lib.Source | None
    ground_truth: ground_truth_lib.GroundTruth | None
    warm_start: warm_start_lib.WarmStart | None
    threads: str
    environment: Mapping[str, str]
    spread: replicas.Distribution

    def batches(
        self,
        config: config_lib.Config,
        start_step: int,
        share: shares.Share | None = None,
    ) -> tf.data.Dataset:
        """Returns the training batches of steps start_step and later.

        Args:
          config: the run's configuration.
          start_step: steps already done.
          share: the rows to be taken; None for all.
        """
        return pipeline.build_train_dataset(
            self.train.files,
            config,
            num_records=self.train.num_records,
            max_boxes=self.train.counts.max_boxes_per_image,
            start_step=start_step,
            share=share,
        )
