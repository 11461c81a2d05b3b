"""A dry run says what the run will take, and leaves nothing."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import pathlib

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import crowded, pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import dry_run, machine, need
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from tests.training import rehearsing
from tfrecord_tools import schema

MIB = 2**20
NEED = rehearsing.NEED
Rehearsals = rehearsing.Rehearsals
Steps = rehearsing.Steps
rehearsals, made_once, steps = (
    rehearsing.rehearsals,
    rehearsing.made_once,
    rehearsing.steps,
)


def _num_objects(records: pathlib.Path) -> dict[str, int]:
    """Returns the objects of each training image, by its id."""
    counts = {}
    for path in sorted(records.glob("train-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            feature = tf.train.Example.FromString(
                record.numpy()
            ).features.feature
            name = feature[schema.SOURCE_ID].bytes_list.value[0].decode()
            counts[name] = len(feature[schema.LABEL].int64_list.value)
    return counts


def test_records_with_the_most_objects(street_records: pathlib.Path) -> None:
    counts = _num_objects(street_records)
    files = sorted(map(str, street_records.glob("train-*.tfrecord")))
    crowds = crowded.find(files, 5)
    most = sorted(counts.values(), reverse=True)[:5]
    assert [crowd.num_boxes for crowd in crowds] == most
    assert most[0] > most[-1]
    read = list(crowded.line(crowds).take(7))
    assert [(int(e), int(p)) for e, p, _ in read] == [
        *((0, place) for place in range(5)),
        (1, 0),
        (1, 1),
    ]
    for crowd, (_, _, (file, number, record)) in zip(
        crowds, read, strict=False
    ):
        whole = tf.data.TFRecordDataset(file).skip(number)
        assert record.numpy() == next(iter(whole)).numpy()
        assert file.numpy().decode() == crowd.file


def test_steps_take_the_images_with_the_most_objects(
    rehearsals: Rehearsals,
    steps: Steps,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dry_run, "NUM_STEPS", 6)
    monkeypatch.setattr(pipeline, "_BATCHES_AT_ONCE", 1)
    rehearsals.run("nowhere", ",train_batch_size=2")
    counts = _num_objects(rehearsals.records)
    ids = [i.decode() for b in steps.batches for i in b.source_ids.numpy()]
    taken = [counts[name] for name in ids]
    assert taken == sorted(counts.values(), reverse=True)[:12]
    assert len(set(ids)) == 12
    said = capsys.readouterr().out
    assert (
        "Dry run: 6 steps from step 0 on, with the 12 images that have the most"
        f" objects ({taken[0]} to {taken[-1]} each). Nothing is written."
    ) in said


@pytest.mark.usefixtures("steps")
def test_figures_by_hand(
    rehearsals: Rehearsals, capsys: pytest.CaptureFixture[str]
) -> None:
    # A step asks three times: at its beginning, with its input, at its end.
    first = [0.0, 5.0, 20.0]
    rehearsals.machine.seconds = itertools.chain(
        first, itertools.cycle([0.0, 0.125, 0.375])
    )
    rehearsals.run("nowhere")
    lines = capsys.readouterr().out.splitlines()
    # 200 steps of 0.5 s. Fixed: 500 + 100 + 500; so 400 / 8 for each image,
    # and (500 + 4000 - 1100) / 50 = 68 in all.
    begin = next(i for i, x in enumerate(lines) if x.startswith("speed"))
    (disk,) = lines[begin + 8 :]
    assert lines[begin : begin + 8] == [
        "speed           16.0 images/s: 0.500 s a step, 25% of it waiting for"
        " input",
        "                (median of steps 6 to 20; the first took 25.0 s, as it"
        " is traced and compiled)",
        "time to the end 1 min 40 s",
        "                1 min 40 s: 200 steps",
        "memory host     peak 1.5 GiB, 1000 MiB of it since the steps began;"
        " 2.9 GiB were free (limited by a test)",
        "                the run takes 2 MiB more for its shuffle_buffer",
        "largest batch   about 68, a guess: of 4.4 GiB 1.1 GiB go to weights"
        " and the like,",
        "                and each image takes 50 MiB",
    ]
    assert disk.startswith("disk            ")
    assert " for 4 checkpoints, " in disk


def test_two_replicas_in_a_folder_that_is_there(
    rehearsals: Rehearsals,
    mirrored: tf.distribute.Strategy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Input, state and evaluation are real here, on both replicas."""
    steps = Steps()
    monkeypatch.setattr(step_lib, "make_train_step", steps.make)
    monkeypatch.setattr(dry_run, "NUM_STEPS", 7)
    monkeypatch.setattr(need, "estimate", lambda *_: NEED)
    config, train = rehearsing.settings(rehearsals.records)
    with mirrored.scope():
        state = state_lib.TrainState(config)
    state.step.assign(3)
    model_dir = rehearsals.folder / "model"
    identity = train.manifest.identity
    meta = checkpoint.Meta(config, train.classes, identity, "others")
    checkpoint.save(str(model_dir), 3, state.variables(), meta, 1)
    (model_dir / "checkpoints" / ".writing-step-00000006").mkdir()
    before = _tree(rehearsals.folder)
    rehearsals.run(
        "model",
        spread=replicas.Distribution(strategy=mirrored),
        val=True,
    )
    assert _tree(rehearsals.folder) == before
    own = mirrored.experimental_local_results(steps.batches[0].images)
    assert [part.shape for part in own] == [(4, 64, 64, 3)] * 2
    said = capsys.readouterr().out
    assert "Going on after step 3 " in said
    assert "Dry run: 7 steps from step 3 on, with the 32 images" in said
    assert ": 197 steps\n" in said
    assert ": 5 evaluations of 4 batches of 8, 0.250 s a batch\n" in said
    assert " checkpoints and the best, " in said
    assert " MiB of it there already; " in said


def _tree(folder: pathlib.Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path), path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
    )


def test_memory_of_gpus_is_that_of_steps_and_evaluations(
    rehearsals: Rehearsals,
    steps: Steps,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peak = collections.Counter(steps=2000 * MIB)
    monkeypatch.setattr(
        rehearsals.machine,
        "gpus",
        lambda: [machine.Gpu("GPU:0", peak.total(), 8000 * MIB)],
    )
    monkeypatch.setattr(rehearsals.machine, "forget_gpu_peaks", peak.clear)
    monkeypatch.setattr(
        need, "estimate", lambda *_: dataclasses.replace(NEED, on_host=False)
    )
    rehearsals.run("nowhere")
    said = capsys.readouterr().out
    assert (
        "memory GPU:0    peak 2.0 GiB in training, 5.9 GiB of 7.8 GiB" in said
    )
    # (8000 - 300) / ((2000 - 300) / 8)
    assert "largest batch   about 36, a guess" in said
    assert peak.total() == 0
    assert len(steps.batches) == 20
