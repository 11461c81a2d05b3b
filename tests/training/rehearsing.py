"""Dry runs of a tiny network on a machine without memory of its own."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf

from efficientdet_aimmo import host_memory
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.training import dry_run, machine, need, start
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.training import tiny
from tfrecord_tools import command

MIB = 2**20
BATCH = ",train_batch_size=8"  # all 32 images are used, in five rounds
SETTINGS = (
    "num_epochs=50,map_freq=10,num_classes=0,"
    "eval_batch_size=8,moving_average_decay=0.9"
)


class Machine(machine.Machine):
    """Has a clock that is moved on, and no memory of its own."""

    def __init__(self) -> None:
        super().__init__("/")
        self.seconds: Iterator[float] = itertools.repeat(0.25)
        self.time = 0.0
        self.peaks = itertools.repeat(1500 * MIB)
        self.free = 4000 * MIB

    def clock(self) -> float:
        self.time += next(self.seconds)
        return self.time

    def resident(self) -> int:
        return 500 * MIB

    def peak(self) -> int:
        return next(self.peaks)

    def room(self) -> host_memory.Room:
        return host_memory.Room(self.free, "a test")


NEED = need.Need(
    on_host=True,
    images=8,
    gradients=100 * MIB,
    fixed=300 * MIB,
    per_image=40 * MIB,
    evaluation=0,
    inputs=10 * MIB,
    shuffle_buffer=2 * MIB,
)


@dataclasses.dataclass
class Rehearsals:
    """Dry runs on the example photographs."""

    records: pathlib.Path
    folder: pathlib.Path
    machine: Machine

    def run(
        self,
        name: str,
        more: str = "",
        spread: replicas.Distribution | None = None,
        val: bool = False,
    ) -> None:
        config, train = settings(self.records, more)
        run = run_lib.Run(
            model_dir=str(self.folder / name),
            train=train,
            val=source_lib.open_source(f"{self.records}/val-*", "val"),
            ground_truth=ground_truth_lib.load(f"{self.records}/val.json"),
            warm_start=None,
            threads="as in the other runs",
            environment={},
            spread=spread or replicas.single(),
        )
        if not val:
            run = dataclasses.replace(run, val=None, ground_truth=None)
        dry_run.rehearse(config, run, self.machine)

    def fault(self, code: int, more: str = "") -> str:
        """Returns what a dry run says that ends so."""
        with pytest.raises(command.UserError) as caught:
            self.run("nowhere", more)
        assert caught.value.exit_code == code
        assert not (self.folder / "nowhere").exists()
        return str(caught.value)


def settings(
    records: pathlib.Path, more: str = ""
) -> tuple[config_lib.Config, source_lib.Source]:
    train = source_lib.open_source(f"{records}/train-*", "train")
    config = tiny.config(SETTINGS + (more or BATCH))
    return start.fill_from_data(config, None, train), train


@pytest.fixture
def rehearsals(
    street_records: pathlib.Path, tmp_path: pathlib.Path
) -> Rehearsals:
    return Rehearsals(street_records, tmp_path, Machine())


class Steps:
    """Steps that only note their batches.

    Attributes:
      batches: those of each step.
      act: called at each step, with its number.
    """

    def __init__(self) -> None:
        self.batches: list[pipeline.TrainBatch] = []
        self.act: Callable[[int], None] = lambda _: None
        self.fails_at: set[int] = set()

    def make(self, state: state_lib.TrainState, *_: object) -> Callable:
        def step(batch: pipeline.TrainBatch) -> step_lib.StepResult:
            number = len(self.batches)
            self.batches.append(batch)
            self.act(number)
            good = number not in self.fails_at
            if good:
                state.step.assign_add(1)
            value = tf.constant(1.0 if good else float("nan"))
            is_overflow, scale = tf.constant(False), tf.constant(1.0)
            found = [value] * 8 + [tf.constant(good), is_overflow, scale]
            return step_lib.StepResult(*found)

        return step


@pytest.fixture(scope="module")
def made_once(street_records: pathlib.Path) -> state_lib.TrainState:
    return state_lib.TrainState(settings(street_records)[0])


@pytest.fixture
def steps(
    made_once: state_lib.TrainState, monkeypatch: pytest.MonkeyPatch
) -> Steps:
    """Replaces the network: no graph is made."""
    for count in (made_once.step, made_once.skipped):
        count.assign(0)
    steps = Steps()
    monkeypatch.setattr(state_lib, "TrainState", lambda _: made_once)
    monkeypatch.setattr(step_lib, "make_train_step", steps.make)
    monkeypatch.setattr(need, "estimate", lambda *_: NEED)
    return steps
