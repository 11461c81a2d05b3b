"""Runs of a network of three variables whose steps only count."""

from __future__ import annotations

import json
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import evaluator
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import loop, start
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import override
from tests.hparams import witness_records
from tests.training import tiny
from tfrecord_tools import command

# 32 images, batch 16: steps 1 to 4, evaluations of four batches after 2 and 4.
SETTINGS = (
    "train_batch_size=16,num_epochs=2,map_freq=1,save_checkpoints_steps=100,"
    "eval_batch_size=8,num_pictures=0,num_classes=0,per_class=false,"
    "max_output_size=10"
)


class Runs:
    """Runs whose steps only count, one after the other in a folder.

    Attributes:
      model_dir: the folder.
      environment: what a run is told of it.
      in_step: called in each step with its number, from 1.
      in_batch: called in each evaluation batch with the number of batches.
      batches: evaluation batches so far.
    """

    def __init__(
        self, records: witness_records.Records, model_dir: pathlib.Path
    ) -> None:
        self._records = records
        self.model_dir = model_dir
        self.environment: dict[str, str] = {}
        self.in_step: Callable[[int], None] = lambda _: None
        self.in_batch: Callable[[int], None] = lambda _: None
        self.batches = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Puts the network, the step and the count in place."""
        detect = evaluator.Evaluator.detect

        def counted(this: evaluator.Evaluator, *batch: tf.Tensor) -> Any:
            self.count_batch()
            return detect(this, *batch)

        patch.setattr(evaluator.Evaluator, "detect", counted)
        patch.setattr(detector_lib, "Detector", witness_records.TinyNetwork)
        patch.setattr(step_lib, "make_train_step", self.make_step)

    def make_step(
        self, state: state_lib.TrainState, *_: object
    ) -> Callable[[pipeline.TrainBatch], step_lib.StepResult]:
        def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
            state.step.assign_add(1)
            self.in_step(int(state.step))
            fields = step_lib.StepResult._fields
            terms = {name: tf.constant(1.0) for name in fields}
            terms["is_overflow"] = tf.constant(False)
            return step_lib.StepResult(**terms)

        return step

    def count_batch(self) -> None:
        self.batches += 1
        self.in_batch(self.batches)

    def train(self, more: str = "") -> None:
        config = override.override(tiny.config(SETTINGS), more)
        config = start.fill_from_data(config, None, self._records.train)
        loop.train(
            config,
            run_lib.Run(
                model_dir=str(self.model_dir),
                train=self._records.train,
                val=self._records.val,
                ground_truth=self._records.truth,
                warm_start=None,
                threads="",
                environment=self.environment,
                spread=replicas.single(),
            ),
        )

    def stops(self, more: str = "") -> tuple[str, int]:
        """Runs, and must be stopped; returns the message and the step saved."""
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(command.UserError) as caught:
            self.train(more)
        assert signal.getsignal(signal.SIGTERM) == handler
        assert int(caught.value.exit_code) == 75
        newest, faults = checkpoint.latest(str(self.model_dir))
        assert newest is not None
        assert faults == []
        assert newest.values()[checkpoint.STEP] == newest.step
        return str(caught.value), newest.step

    def evaluated(self) -> list[str]:
        return sorted(p.name for p in self.model_dir.glob("eval/*.json"))

    def ends(self) -> None:
        """Gives the same command again, undisturbed."""
        self.in_step = self.in_batch = lambda _: None
        self.environment = {}
        self.train()
        result = json.loads((self.model_dir / "result.json").read_text())
        assert result["step"] == 4
        assert self.evaluated() == ["00000002.json", "00000004.json"]
