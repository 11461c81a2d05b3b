"""The training command in an object store."""

from __future__ import annotations

import pathlib

import pytest

from efficientdet_aimmo import checkpoint, weights
from efficientdet_aimmo.evaluation import report, saved
from efficientdet_aimmo.pretrained import files
from efficientdet_aimmo.training import lock, nonfinite
from hparams import serialize
from tests.training import run_cases, stages
from tfrecord_tools import storage

Places = run_cases.Places
made_once = run_cases.made_once
places = run_cases.places
store = run_cases.store


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
    assert run_cases.read_json(store, "result.json")["best_step"] == 4
    config = serialize.from_json(
        storage.read_bytes(f"{store}/config.json").decode()
    )
    found = checkpoint.open_checkpoint(f"{store}/checkpoints/{names[1]}")
    assert (found.step, found.meta.config) == (8, config)
    assert run_cases.read_json(store, "run.json")["starts"][0]["step"] == 0
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
    assert (
        places.run(store, settings=run_cases.SETTINGS.replace("0.01", "0.02"))
        == 73
    )
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
    assert run_cases.read_json(store, "result.json")["step"] == 8
    assert [
        s["step"] for s in run_cases.read_json(store, "run.json")["starts"]
    ] == [0, 4]


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
