"""A run that was stopped ends as one that was not, to the bit."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import evaluator
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import loop, measure, start
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.training import tiny
from tfrecord_tools import command

# 32 images, batch 8: evaluations after steps 4 and 8, checkpoints after 3, 4,
# 6 and 8.
SETTINGS = (
    "train_batch_size=8,num_epochs=2,map_freq=1,save_checkpoints_steps=3,"
    "keep_checkpoints=9,num_classes=0,optimizer=adam,learning_rate=0.002,"
    "moving_average_decay=0.9,survival_prob=0.8,box_class_repeats=2,"
    "eval_batch_size=8,num_pictures=1,seed=5"
)


COLD = (state_lib.TrainState, step_lib.make_train_step, loop.make_measurer)


class Killed(BaseException):
    """Stands for a process that ends here."""


@dataclasses.dataclass
class Runs:
    """Runs of one configuration on the example photographs."""

    records: pathlib.Path
    folder: pathlib.Path

    def settings(
        self, more: str = ""
    ) -> tuple[config_lib.Config, source_lib.Source]:
        train = source_lib.open_source(
            f"{self.records}/train-*.tfrecord", "train_file_pattern"
        )
        config = start.fill_from_data(tiny.config(SETTINGS + more), None, train)
        return config, train

    def train(self, name: str, more: str = "") -> pathlib.Path:
        """Trains in the folder of that name, or goes on there."""
        config, train = self.settings(more)
        val = source_lib.open_source(
            f"{self.records}/val-*.tfrecord", "val_file_pattern"
        )
        model_dir = self.folder / name
        model_dir.mkdir(exist_ok=True)
        run = run_lib.Run(
            model_dir=str(model_dir),
            train=train,
            val=val,
            ground_truth=ground_truth_lib.load(f"{self.records}/val.json"),
            warm_start=None,
            threads="as in the other runs",
            environment={},
            spread=replicas.single(),
        )
        loop.train(config, run)
        return model_dir


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """Gives the graphs of the first run to all runs: tracing is most of it.

    Every variable that the state was made of is put back to what it was then,
    so nothing but the folder reaches a run from the one before.
    """
    made_state: list[state_lib.TrainState] = []
    made_step: list[Callable] = []
    made_measurer: list[measure.Measurer] = []
    created: list[tuple[tf.Variable, np.ndarray]] = []

    def note(creator: Callable, **named: object) -> tf.Variable:
        variable = creator(**named)
        created.append((variable, variable.numpy()))
        return variable

    def state_of(config: config_lib.Config) -> state_lib.TrainState:
        if not made_state:
            with tf.variable_creator_scope(note):
                made_state.append(COLD[0](config))
        for variable, value in created:
            variable.assign(value)
        return made_state[0]

    def step_of(*arguments: object) -> Callable:
        if not made_step:
            made_step.append(COLD[1](*arguments))  # type: ignore[arg-type]
        return made_step[0]

    def measurer_of(config: config_lib.Config, run: run_lib.Run) -> object:
        if not made_measurer:
            made_measurer.append(COLD[2](config, run))  # type: ignore[arg-type]
        made_measurer[0]._folder = f"{run.model_dir}/eval"
        made_measurer[0].last = None
        return made_measurer[0]

    patch = pytest.MonkeyPatch()
    _replace_makers(patch, state_of, step_of, measurer_of)
    yield
    patch.undo()


def _replace_makers(patch: pytest.MonkeyPatch, *makers: object) -> None:
    patch.setattr(state_lib, "TrainState", makers[0])
    patch.setattr(step_lib, "make_train_step", makers[1])
    patch.setattr(loop, "make_measurer", makers[2])


@pytest.fixture(scope="module")
def runs(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """Returns the maker of runs."""
    return Runs(street_records, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(runs: Runs) -> pathlib.Path:
    """Returns the folder of a run that nothing disturbed."""
    return runs.train("whole")


def _checkpoint(folder: pathlib.Path, step: int) -> dict[str, np.ndarray]:
    path = folder / "checkpoints" / f"step-{step:08}"
    return checkpoint.open_checkpoint(str(path)).values()


def _kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Lets the run end when it begins this step."""
    make = step_lib.make_train_step

    def make_mortal(*arguments: object) -> Callable:
        train_step = make(*arguments)  # type: ignore[arg-type]

        def mortal(batch: pipeline.TrainBatch) -> step_lib.StepResult:
            if int(arguments[0].step) == step:  # type: ignore[attr-defined]
                raise Killed
            return train_step(batch)

        return mortal

    patch.setattr(step_lib, "make_train_step", make_mortal)


def _die_and_go_on(
    runs: Runs, name: str, step: int, more: str = ""
) -> tuple[pathlib.Path, int]:
    """Returns the folder, and the step of what the dead run had saved."""
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, step)
        with pytest.raises(Killed):
            runs.train(name, more)
    newest, _ = checkpoint.latest(str(runs.folder / name))
    assert newest is not None
    return runs.train(name, more), newest.step


def test_whole_run_leaves_its_results(whole: pathlib.Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert result["step"] == 8
    report = json.loads((whole / "eval" / "00000008.json").read_text())
    assert result["metrics"] == report["metrics"]
    steps = sorted(p.name[-1] for p in (whole / "checkpoints").iterdir())
    assert steps == ["3", "4", "6", "8"]


def test_run_killed_right_after_a_checkpoint(
    runs: Runs, whole: pathlib.Path
) -> None:
    folder, saved = _die_and_go_on(runs, "killed-3", 3)
    assert saved == 3
    _same_end(folder, whole)


def test_run_killed_between_two_checkpoints(
    runs: Runs, whole: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With graphs of its own, as a new process has them.
    _replace_makers(monkeypatch, *COLD)
    folder, saved = _die_and_go_on(runs, "killed-5", 5)
    assert saved == 4
    _same_end(folder, whole)


def test_run_killed_in_an_evaluation_does_it_again(
    runs: Runs, whole: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first half is the whole run's: its folder as it was after step 4.
    folder = runs.folder / "killed-evaluation"
    shutil.copytree(whole, folder)
    for step in (6, 8):
        shutil.rmtree(folder / "checkpoints" / f"step-{step:08}")
    shutil.rmtree(folder / "eval")
    (folder / "result.json").unlink()
    detect = evaluator.Evaluator.detect
    calls = []

    def mortal(self: evaluator.Evaluator, *batch: tf.Tensor) -> object:
        calls.append(len(batch))
        if len(calls) == 2:
            raise Killed
        return detect(self, *batch)

    monkeypatch.setattr(evaluator.Evaluator, "detect", mortal)
    with pytest.raises(Killed):
        runs.train(folder.name)
    assert not (folder / "eval" / "00000004.json").exists()
    monkeypatch.undo()
    runs.train(folder.name)
    _same_end(folder, whole)


def _same_end(folder: pathlib.Path, whole: pathlib.Path) -> None:
    for step in (6, 8):
        assert tiny.same(_checkpoint(folder, step), _checkpoint(whole, step))
    for name in ("eval/00000004.json", "eval/00000008.json", "result.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_seed_decides_what_a_run_begins_with(runs: Runs) -> None:
    config, _ = runs.settings()
    other = dataclasses.replace(
        config, train=dataclasses.replace(config.train, seed=6)
    )
    first, again, second = (
        {v.name: v.numpy() for v in detector_lib.Detector(c).all_variables}
        for c in (config, config, other)
    )
    assert tiny.same(first, again)
    name = "class_net/class-0/pointwise_kernel:0"
    assert not np.array_equal(first[name], second[name])


def test_two_runs_of_one_seed_are_equal(
    runs: Runs, whole: pathlib.Path
) -> None:
    _same_end(runs.train("again"), whole)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the images of the second step undefined."""
    build = pipeline.build_train_dataset

    def spoilt(*arguments: object, **named: object) -> tf.data.Dataset:
        start_step = named["start_step"]

        @tf.autograph.experimental.do_not_convert
        def spoil(
            place: tf.Tensor, batch: pipeline.TrainBatch
        ) -> pipeline.TrainBatch:
            bad = tf.where(place + start_step == 1, float("nan"), 0.0)
            return batch._replace(images=batch.images + bad)

        return build(*arguments, **named).enumerate().map(spoil)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "build_train_dataset", spoilt)


@pytest.mark.usefixtures("poisoned")
def test_loss_that_is_not_finite_stops_the_run(runs: Runs) -> None:
    with pytest.raises(command.UserError) as caught:
        runs.train("diverged")
    assert caught.value.exit_code == command.ExitCode.DIVERGED
    assert "Step 1 gave a loss or gradient" in str(caught.value)
    kept = runs.folder / "diverged" / "nan" / "1"
    terms = json.loads((kept / "terms.json").read_text())
    assert np.isnan(terms["terms"]["class_loss"])
    assert len(terms["bad_images"]) == 8
    assert np.load(kept / "batch.npz")["source_ids"].shape == (8,)


@pytest.mark.usefixtures("poisoned")
def test_step_that_is_skipped_is_counted_also_after_a_stop(runs: Runs) -> None:
    skipping = runs.train("skipped", ",on_nan=skip")
    result = json.loads((skipping / "result.json").read_text())
    assert (result["step"], result["skipped_steps"]) == (8, 1)
    resumed, saved = _die_and_go_on(runs, "resumed", 5, ",on_nan=skip")
    assert saved == 4
    _same_end(resumed, skipping)
