"""A run that is asked to stop saves within a step, and goes on later."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import evaluator
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import loop, start, stopping
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from tests.hparams import witness_records
from tests.training import metadata_server, tiny
from tfrecord_tools import command

# 32 images, batch 16: steps 1 to 4, evaluations of four batches after 2 and 4.
SETTINGS = (
    "train_batch_size=16,num_epochs=2,map_freq=1,save_checkpoints_steps=100,"
    "eval_batch_size=8,num_pictures=0,num_classes=0,per_class=false,"
    "max_output_size=10"
)
MOST_S = 20.0  # for what must come; it comes in milliseconds


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Runs:
    """Runs whose steps only count, one after the other in a folder.

    Attributes:
      model_dir: the folder.
      environment: what a run is told of it.
      in_step: called in each step with its number, from 1.
      in_batch: called in each evaluation batch with the number of batches.
    """

    def __init__(
        self, records: witness_records.Records, model_dir: pathlib.Path
    ) -> None:
        self._records = records
        self.model_dir = model_dir
        self.environment: dict[str, str] = {}
        self.in_step: Callable[[int], None] = lambda _: None
        self.in_batch: Callable[[int], None] = lambda _: None
        self._batches = 0

    def make_step(
        self, state: state_lib.TrainState, *_: object
    ) -> Callable[[pipeline.TrainBatch], step_lib.StepResult]:
        def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
            state.step.assign_add(1)
            self.in_step(int(state.step))
            fields = step_lib.StepResult._fields
            return step_lib.StepResult(**{n: tf.constant(1.0) for n in fields})

        return step

    def count_batch(self) -> None:
        self._batches += 1
        self.in_batch(self._batches)

    def train(self, more: str = "") -> None:
        config = start.fill_from_data(
            tiny.config(SETTINGS + more), None, self._records.train
        )
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


@pytest.fixture(scope="module")
def records(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> witness_records.Records:
    return witness_records.make_records(
        street_records, tmp_path_factory.mktemp("stopping")
    )


@pytest.fixture
def runs(
    records: witness_records.Records,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Runs:
    made = Runs(records, tmp_path)
    detect = evaluator.Evaluator.detect

    def counted(self: evaluator.Evaluator, *batch: tf.Tensor) -> Any:
        made.count_batch()
        return detect(self, *batch)

    monkeypatch.setattr(evaluator.Evaluator, "detect", counted)
    monkeypatch.setattr(detector_lib, "Detector", witness_records.TinyNetwork)
    monkeypatch.setattr(step_lib, "make_train_step", made.make_step)
    return made


def test_a_signal_in_a_step_saves_after_it(runs: Runs) -> None:
    runs.in_step = lambda step: _sigterm() if step == 1 else None
    message, saved = runs.stops()
    assert saved == 1
    assert message == (
        "Stopped on request (SIGTERM) after step 1, which is saved. The same"
        " command goes on."
    )
    runs.ends()


def test_a_second_signal_does_not_stop_the_saving(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.in_step = lambda step: _sigterm() if step == 1 else None
    save = checkpoint.save

    def save_under_fire(*arguments: Any) -> str:
        _sigterm()
        path = save(*arguments)
        _sigterm()
        return path

    monkeypatch.setattr(checkpoint, "save", save_under_fire)
    _, saved = runs.stops()
    assert saved == 1
    monkeypatch.setattr(checkpoint, "save", save)
    runs.ends()


@pytest.mark.parametrize("batch", [2, 6])
def test_a_signal_in_an_evaluation_leaves_it(runs: Runs, batch: int) -> None:
    runs.in_batch = lambda number: _sigterm() if number == batch else None
    message, saved = runs.stops()
    # The first evaluation, or the last after which there is no step.
    assert saved == {2: 2, 6: 4}[batch]
    assert f"after step {saved}, which is saved" in message
    assert runs._batches == batch
    assert f"{saved:08}.json" not in runs.evaluated()
    assert not (runs.model_dir / "result.json").exists()
    runs.ends()


def test_a_signal_before_an_evaluation_leaves_it_out(runs: Runs) -> None:
    runs.in_step = lambda step: _sigterm() if step == 2 else None
    _, saved = runs.stops()
    assert saved == 2
    assert runs._batches == 0
    runs.ends()


def test_a_notice_of_preemption_saves_within_a_step(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed = threading.Event()
    on_notice = stopping.StopRequest._on_notice

    def tell(self: stopping.StopRequest) -> None:
        on_notice(self)
        noticed.set()

    monkeypatch.setattr(stopping.StopRequest, "_on_notice", tell)
    answers = (
        metadata_server.Answer("FALSE", "a"),
        metadata_server.Answer("TRUE", "b", is_delayed=True),
    )
    with metadata_server.running(*answers) as server:

        def preempt(step: int) -> None:
            if step == 3:
                server.release.set()
                assert noticed.wait(MOST_S)

        runs.in_step = preempt
        runs.environment = {"GCE_METADATA_HOST": server.host}
        message, saved = runs.stops(",preemption_notice=auto")
    assert saved == 3
    assert message == (
        "Stopped because Google Cloud takes the machine back (preemption"
        " notice) after step 3, which is saved. The same command goes on."
    )
    runs.ends()
