"""The training command in an object store, and on a disk that is full.

Batches, steps and measurements are stood in for: what is tested is all that is
written.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import json
import pathlib
import resource
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint, train, weights
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import coco, evaluator, report, saved
from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.pretrained import files
from efficientdet_aimmo.training import best, lock, model_dir, nonfinite
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from hparams import serialize
from tests.training import stages, tiny
from tfrecord_tools import command, storage

# 32 images in batches of 8: checkpoints after steps 2, 4, 6, 8, evaluations
# after 4 and 8.
_PAIRS = dict(pair.split("=") for pair in tiny.TINY.split(","))
_PAIRS |= {
    "train_batch_size": "8",
    "num_epochs": "2",
    "map_freq": "1",
    "log_steps": "1",
    "save_checkpoints_steps": "2",
    "keep_checkpoints": "2",
    "num_pictures": "1",
    "moving_average_decay": "0",
    "num_classes": "0",
}
SETTINGS = ",".join(f"{name}={value}" for name, value in _PAIRS.items())
OVERALL = metrics_lib.Counts(
    threshold=0.5,
    true_positives=0,
    false_positives=0,
    false_negatives=1,
    precision=0.0,
    recall=0.0,
    f1=0.0,
)
NOTHING = coco.ImageDetections(
    boxes=np.zeros([0, 4], np.float32),
    scores=np.zeros([0], np.float32),
    classes=np.zeros([0], np.int32),
)


def _evaluation(ap: float) -> evaluator.Evaluation:
    metrics = metrics_lib.Metrics(
        images=32,
        objects=1,
        detections=0,
        ap=ap,
        ap50=ap,
        ap75=ap,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        ar100=ap,
        overall=OVERALL,
        classes=(),
    )
    found: dict[int, coco.ImageDetections] = collections.defaultdict(
        lambda: NOTHING
    )
    return evaluator.Evaluation(metrics, (), found)


class Places(NamedTuple):
    """The command on small records; `during` is called in every step."""

    records: pathlib.Path
    capsys: pytest.CaptureFixture[str]
    during: dict[int, Callable[[state_lib.TrainState], object]]
    losses: dict[int, float]

    def run(self, folder: str, settings: str = SETTINGS) -> int:
        return command.run(
            train.main,
            train.FLAGS,
            "",
            [
                "train",
                "--mode=train_and_eval",
                f"--train_file_pattern={self.records}/train*.tfrecord",
                f"--val_file_pattern={self.records}/val*.tfrecord",
                "--model_name=efficientdet-lite0",
                f"--model_dir={folder}",
                f"--hparams={settings}",
            ],
        )

    def said(self) -> tuple[str, str]:
        out, err = self.capsys.readouterr()
        return out, err


@pytest.fixture(scope="module")
def made_once() -> Iterator[None]:
    """Gives all runs one network, put back to what it was at first."""
    made: list[state_lib.TrainState] = []
    first: dict[str, np.ndarray] = {}
    make = state_lib.TrainState

    def state_of(config: config_lib.Config) -> state_lib.TrainState:
        if not made:
            made.append(make(config))
            values = made[0].variables().items()
            first.update({name: v.numpy().copy() for name, v in values})
        for name, variable in made[0].variables().items():
            variable.assign(first[name])
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_lib, "TrainState", state_of)
        detector_of = functools.cache(detector_lib.Detector)
        patch.setattr(detector_lib, "Detector", detector_of)
        yield


@pytest.fixture
def places(
    made_once: None,
    street_records: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Places:
    found = Places(street_records, capsys, {}, {})

    def make_train_step(state: state_lib.TrainState, *_: object) -> Any:
        def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
            number = int(state.step) + 1
            if number in found.during:
                found.during[number](state)
            loss = found.losses.get(number, 1.0)
            if np.isfinite(loss):
                state.step.assign_add(1)
            values = dict.fromkeys(step_lib.StepResult._fields, 1.0)
            values |= {"total_loss": loss, "is_finite": np.isfinite(loss)}
            values["is_overflow"] = False
            return step_lib.StepResult(
                **{k: tf.constant(v) for k, v in values.items()}
            )

        return step

    def run(*_: object) -> evaluator.Evaluation:
        return _evaluation(0.25)

    def batches(*_: object, **__: object) -> Iterator[pipeline.TrainBatch]:
        return itertools.repeat(tiny.batch())

    monkeypatch.setattr(pipeline, "build_train_dataset", batches)
    monkeypatch.setattr(pipeline, "build_eval_dataset", batches)
    monkeypatch.setattr(step_lib, "make_train_step", make_train_step)
    monkeypatch.setattr(evaluator.Evaluator, "run", run)
    monkeypatch.setattr(lock, "_pause", lambda _: None)
    return found


@pytest.fixture
def store() -> Iterator[str]:
    """Yields a folder in memory, as in an object store."""
    folder = f"ram://{uuid.uuid4().hex}/model"
    yield folder
    storage.remove_tree(folder)


def _json(folder: str, name: str) -> Any:
    return json.loads(storage.read_bytes(f"{folder}/{name}"))


def test_a_run_in_an_object_store(places: Places, store: str) -> None:
    where: list[str] = []
    places.during[3] = lambda _: where.extend(storage.names(store))
    assert places.run(store) == 0
    assert ".lock" in where
    assert storage.names(store) == [
        "best",
        "checkpoints",
        "config.json",
        "dataset.json",
        "eval",
        "result.json",
        "run.json",
        "train",
    ]
    assert not pathlib.Path("ram:").exists()
    names = storage.names(f"{store}/checkpoints")
    assert names == ["step-00000006", "step-00000008"]
    assert storage.names(f"{store}/best") == ["step-00000004"]
    assert _json(store, "result.json")["best_step"] == 4
    config = serialize.from_json(
        storage.read_bytes(f"{store}/config.json").decode()
    )
    found = checkpoint.open_checkpoint(f"{store}/checkpoints/{names[1]}")
    assert (found.step, found.meta.config) == (8, config)
    assert _json(store, "run.json")["starts"][0]["step"] == 0
    assert report.read(f"{store}/eval/00000004.json").metrics.ap == 0.25
    events = [n for n in storage.names(f"{store}/train") if "tfevents" in n]
    assert len(events) == 1
    assert storage.status(f"{store}/train/{events[0]}")[0] > 1000
    # What evaluate and predict read.
    model = weights.load_detector(store, None)
    assert model.step == 8
    assert weights.load_detector(store, f"{store}/best/step-00000004").step == 4
    assert saved.drawing_threshold(store, None) == 0.5
    # What a run can begin with.
    assert files.locate(store).kind is files.Kind.OWN_MODEL_DIR
    assert files.locate(found.path).kind is files.Kind.OWN
    # The same command has nothing to do; another configuration is refused.
    assert places.run(store) == 0
    assert f"Going on after step 8 ({found.path})" in places.said()[0]
    assert places.run(store, settings=SETTINGS.replace("0.01", "0.02")) == 73
    assert "learning_rate: 0.01 -> 0.02" in places.said()[1]


def test_a_stopped_run_goes_on_in_an_object_store(
    places: Places, store: str
) -> None:
    def kill(_: object) -> None:
        raise stages.Killed

    places.during[6] = kill
    with pytest.raises(stages.Killed):
        places.run(store)
    assert checkpoint.latest(store)[0].step == 4  # type: ignore[union-attr]
    # What an upload leaves that ended before meta.json is no checkpoint.
    for name in ("variables.index", "variables.data-00000-of-00001"):
        storage.copy(
            f"{store}/checkpoints/step-00000004/{name}",
            f"{store}/checkpoints/step-00000006/{name}",
        )
    # A live run in it is seen before anything is touched.
    storage.write_bytes(f"{store}/.lock", b"one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lock,
            "_pause",
            lambda _: storage.write_bytes(f"{store}/.lock", b"two"),
        )
        assert places.run(store) == 73
    places.during.clear()
    places.said()
    assert places.run(store) == 0
    out, _ = places.said()
    assert "Going on after step 4" in out
    assert "warning" not in out
    assert _json(store, "result.json")["step"] == 8
    assert [s["step"] for s in _json(store, "run.json")["starts"]] == [0, 4]


def test_damage_in_an_object_store(
    places: Places, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.run(store) == 0
    path = f"{store}/checkpoints/step-00000008/variables.index"
    content = bytearray(storage.read_bytes(path))
    content[7] ^= 4
    storage.write_bytes(path, bytes(content))
    places.said()
    assert places.run(store) == 0
    out, _ = places.said()
    assert f"warning: {path} is damaged: its checksum differs." in out
    assert "Going on after step 6" in out

    # One that cannot be reached now is not taken for a damaged one.
    def refuse(path: str) -> bytes:
        if path.endswith("meta.json"):
            raise OSError(5, "no route", path)
        return read(path)

    read = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", refuse)
    assert places.run(store) == 74
    assert "step-00000008 cannot be read (no route)" in places.said()[1]


def test_a_refused_step_in_an_object_store(
    places: Places, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = nonfinite.Terms(
        4, {"total_loss": float("nan")}, {}, ["1"], [], ["a"]
    )
    monkeypatch.setattr(nonfinite, "_measure", lambda *_: terms)
    places.losses[5] = float("nan")
    assert places.run(store) == 70
    folder = f"{store}/nan/4"
    assert f"What it followed from is in {folder}" in places.said()[1]
    assert storage.names(folder) == ["batch.npz", "checkpoints", "terms.json"]
    assert nonfinite.load(folder)[0].image_ids == ["1"]
    assert nonfinite.replay(folder) == terms


def test_a_run_whose_folder_was_taken_over(places: Places, store: str) -> None:
    def take_over(_: object) -> None:
        lease = lock._held[store]
        lease.taken_by = lease.me

    places.during[5] = take_over
    assert places.run(store) == 73
    assert "was taken over by another run" in places.said()[1]
    assert checkpoint.latest(store)[0].step == 4  # type: ignore[union-attr]


# A disk that is full in the course of a run.


@contextlib.contextmanager
def _limits() -> Iterator[Callable[[int], None]]:
    """Yields what sets the largest file; puts it back at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {
    # The first of a step's writes that no longer fits.
    "events": (3, 600, "TensorBoard's events cannot be written", 2),
    "checkpoint": (5, 100_000, "The checkpoint of step 6 cannot be wri", 4),
}


@pytest.mark.parametrize("what", FULL)
def test_a_disk_that_is_full_later(
    places: Places, tmp_path: pathlib.Path, what: str
) -> None:
    step, num_bytes, message, newest = FULL[what]
    folder = str(tmp_path / "model")
    with _limits() as limit:
        places.during[step] = lambda _: limit(num_bytes)
        assert places.run(folder) == 74
    _, err = places.said()
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1
    assert "Make room" in err or "make room" in err
    assert checkpoint.latest(folder)[0].step == newest  # type: ignore[union-attr]
    places.during.clear()
    assert places.run(folder) == 0
    assert f"Going on after step {newest}" in places.said()[0]
    assert _json(folder, "result.json")["step"] == 8


@pytest.mark.parametrize("what", ["report", "best", "result"])
def test_a_disk_that_is_full_after_an_evaluation(
    places: Places,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    place = {
        "report": (report, "write_whole"),
        "best": (best, "keep"),
        "result": (best, "find"),
    }[what]
    original = getattr(*place)
    folder = str(tmp_path / "model")
    with _limits() as limit:

        def full(*arguments: Any) -> Any:
            if what == "report" and "/eval/" not in arguments[0]:
                return original(*arguments)
            limit(20)
            found = original(*arguments)
            if what != "result":
                limit(resource.RLIM_INFINITY)
            return found

        monkeypatch.setattr(*place, full)
        if what == "best":  # no links: a copy
            monkeypatch.setattr(best.whole.os, "link", _refuse)  # type: ignore[attr-defined]
        assert places.run(folder) == 74
    monkeypatch.setattr(*place, original)
    _, err = places.said()
    assert "cannot be" in err
    assert len(err.splitlines()) == 1
    newest = {"report": 4, "best": 4, "result": 8}[what]
    assert checkpoint.latest(folder)[0].step == newest  # type: ignore[union-attr]
    assert places.run(folder) == 0
    assert _json(folder, "result.json")["best_step"] == 4


def _refuse(*_: object) -> None:
    raise OSError("no links here")


# Whether the folder can be written is known before the first step.


@pytest.mark.parametrize("name", ["checkpoints", "best", "eval", "train"])
def test_a_folder_in_it_that_cannot_be_written(
    tmp_path: pathlib.Path, name: str
) -> None:
    (tmp_path / name).write_text("a file")
    with (
        pytest.raises(command.UserError, match="cannot be written") as caught,
        model_dir.in_use(str(tmp_path)),
    ):
        pass
    assert caught.value.exit_code == command.ExitCode.DISK
    (tmp_path / name).unlink()
    with model_dir.in_use(str(tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_permission_is_asked_by_writing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()

    def refuse(path: str, content: bytes) -> None:
        if "checkpoints" in path:
            raise PermissionError(13, "Permission denied", path)
        write(path, content)

    write = model_dir.whole.write_file  # type: ignore[attr-defined]
    monkeypatch.setattr(model_dir.whole, "write_file", refuse)  # type: ignore[attr-defined]
    with (
        pytest.raises(command.UserError, match="Permission denied") as caught,
        model_dir.in_use(str(tmp_path)),
    ):
        pass
    assert caught.value.exit_code == command.ExitCode.DISK


def test_no_room_is_asked_for_in_an_object_store(store: str) -> None:
    model_dir.check_space(store, 2**60)
