"""What a run works on, beside its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.pretrained import warm_start as warm_start_lib


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
