"""store.sh: checkpoints reach a bucket, and come back, whole or not at all."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.deploy import trainees


@pytest.fixture
def buckets(tmp_path: pathlib.Path) -> pathlib.Path:
    records = tmp_path / "buckets" / trainees.BUCKET / "records"
    records.mkdir(parents=True)
    (records / "train-00000-of-00001.tfrecord").write_text("records")
    return tmp_path / "buckets"


@pytest.fixture
def first(tmp_path: pathlib.Path, buckets: pathlib.Path) -> trainees.Trainee:
    return trainees.Trainee(tmp_path / "first", "first 1", buckets)


@pytest.fixture
def second(tmp_path: pathlib.Path, buckets: pathlib.Path) -> trainees.Trainee:
    return trainees.Trainee(tmp_path / "second", "second 2", buckets)


def test_a_new_machine_gets_the_records_and_no_model(
    first: trainees.Trainee,
) -> None:
    first.store("restore")
    assert [p.name for p in (first.root / "records").iterdir()] == [
        "train-00000-of-00001.tfrecord"
    ]
    assert not first.model.exists()
    # Nothing was trained yet: nothing to copy.
    assert "no model folder yet" in first.store("save")


def test_records_are_those_of_the_bucket_and_no_others(
    first: trainees.Trainee,
) -> None:
    old = first.root / "records" / "train-00001-of-00002.tfrecord"
    old.parent.mkdir()
    old.touch()
    first.store("restore")
    assert not old.exists()


def test_without_records_it_says_how_to_copy_them(
    first: trainees.Trainee,
) -> None:
    shutil.rmtree(first.bucket / "records")
    said = first.store("restore", 65)
    assert f"no records in gs://{trainees.BUCKET}/records" in said
    assert "gcloud storage rsync --recursive records" in said


def test_a_machine_goes_on_where_another_one_finished(
    first: trainees.Trainee, second: trainees.Trainee
) -> None:
    first.store("restore")
    first.train(10, 20, best=10)
    said = first.store("finish")
    assert f"copied to gs://{trainees.BUCKET}/model" in said
    assert first.machine.calls("systemctl") == [
        ["stop", "efficientdet-aimmo.service", "efficientdet-store.timer"]
    ]
    assert "restored" in second.store("restore")
    assert trainees.whole_steps(second.model) == [10, 20]
    assert trainees.whole_steps(second.model, "best") == [10]
    assert (second.model / "train/events").read_text() == "to step 20\n"
    # The image's user writes there.
    ((flag, user, folder),) = second.machine.calls("chown")
    assert (flag, user) == ("-R", "1000:1000")
    assert folder.startswith(str(second.root))


def test_what_a_run_is_writing_or_removing_is_left_out(
    first: trainees.Trainee,
) -> None:
    first.train(10)
    for name in (".writing-step-00000020", ".removing-step-00000005"):
        shutil.copytree(
            first.model / "checkpoints/step-00000010",
            first.model / "checkpoints" / name,
        )
    # Never on a disk, unless somebody lost the file.
    shutil.copytree(
        first.model / "checkpoints/step-00000010",
        first.model / "checkpoints/step-00000007",
        ignore=shutil.ignore_patterns("meta.json"),
    )
    (first.model / ".lock").touch()
    (first.model / ".config.json.12").touch()
    first.store("save")
    assert sorted(
        str(p.relative_to(first.bucket / "model"))
        for p in (first.bucket / "model").rglob("*")
        if p.is_file()
    ) == [
        "checkpoints/step-00000010/meta.json",
        "checkpoints/step-00000010/variables.data-00000-of-00001",
        "checkpoints/step-00000010/variables.index",
        "config.json",
        "train/events",
    ]


def test_a_folder_that_goes_while_it_is_copied_is_left_out(
    first: trainees.Trainee,
) -> None:
    first.train(10, 20)
    # The run renames it before it empties it; here just after the copying.
    first.machine.add(
        "cp",
        '/bin/cp "$@"; code=$?\n'
        '[[ "$*" != *checkpoints/step-00000010* ]] ||'
        " /bin/mv checkpoints/step-00000010 checkpoints/.removing-x\n"
        "exit $code",
    )
    assert "step-00000010 was being removed" in first.store("save")
    assert trainees.whole_steps(first.bucket / "model") == [20]
    assert not (first.bucket / "model/checkpoints/step-00000010").exists()


def test_a_refused_step_is_copied_with_its_weights(
    first: trainees.Trainee,
) -> None:
    first.train(10)
    trainees.save(first.model / "nan/12/checkpoints", 12)
    (first.model / "nan/12/batch.npz").write_text("a batch")
    first.store("save")
    copied = first.bucket / "model/nan/12"
    assert (copied / "batch.npz").read_text() == "a batch"
    assert trainees.whole_steps(copied) == [12]


def test_the_bucket_holds_what_the_run_keeps(first: trainees.Trainee) -> None:
    first.train(10, 20, best=10)
    first.store("save")
    first.train(20, 30, best=30)
    first.store("save")
    assert trainees.whole_steps(first.bucket / "model") == [20, 30]
    assert trainees.whole_steps(first.bucket / "model", "best") == [30]
    left = [p.name for p in (first.bucket / "model/checkpoints").iterdir()]
    # Folders stay where buckets have none.
    assert all(
        not list((first.bucket / "model/checkpoints" / name).iterdir())
        for name in left
        if name == "step-00000010"
    )
    events = (first.bucket / "model/train/events").read_text()
    assert events == "to step 20\nto step 30\n"


def test_killed_anywhere_the_bucket_holds_whole_checkpoints(
    first: trainees.Trainee, second: trainees.Trainee, tmp_path: pathlib.Path
) -> None:
    first.train(10, 20, best=10)
    first.store("save")
    first.train(20, 30, best=30)
    history = tmp_path / "history"
    history.mkdir()
    first.store("save", FAKE_HISTORY=str(history))
    states = [
        path / trainees.BUCKET / "model" for path in sorted(history.iterdir())
    ]
    # Three files each of two checkpoints, and of two that were to go, and the
    # events: in the buckets as any of these calls would have left them,
    assert len(states) == 13
    found = [trainees.whole_steps(model) for model in states]
    # what looks whole is whole, and the last that was is there.
    assert all(20 in steps for steps in found)
    assert found[0] == [10, 20]
    assert found[-1] == [20, 30]
    assert all(trainees.whole_steps(model, "best") for model in states)
    # Another machine takes over in the middle of an upload.
    cut_off = next(
        m for m in states if (m / "checkpoints/step-00000030").exists()
    )
    shutil.rmtree(first.bucket / "model")
    shutil.copytree(cut_off, first.bucket / "model")
    (first.bucket / "model-owner").unlink()
    second.store("restore")
    assert trainees.whole_steps(second.model) == [10, 20]
    assert not (second.model / "checkpoints/step-00000030").exists()


def test_the_next_copy_completes_one_that_was_cut_off(
    first: trainees.Trainee, tmp_path: pathlib.Path
) -> None:
    first.train(10, 20)
    counter = tmp_path / "left"
    counter.write_text("3")
    first.machine.run("store.sh", "save", FAKE_LEFT=str(counter))
    assert trainees.whole_steps(first.bucket / "model") == []
    first.store("save")
    assert trainees.whole_steps(first.bucket / "model") == [10, 20]


def test_a_restore_that_was_cut_off_begins_anew(
    first: trainees.Trainee, second: trainees.Trainee, tmp_path: pathlib.Path
) -> None:
    first.train(10, 20)
    first.store("finish")
    counter = tmp_path / "left"
    counter.write_text("3")
    second.machine.run("store.sh", "restore", FAKE_LEFT=str(counter))
    assert not second.model.exists()
    second.store("restore")
    assert trainees.whole_steps(second.model) == [10, 20]


def test_a_machine_that_comes_back_goes_on_with_its_own(
    first: trainees.Trainee,
) -> None:
    first.store("restore")
    first.train(10)
    first.store("save")
    first.train(10, 20)
    assert "at step-00000020" in first.store("restore")
    assert trainees.whole_steps(first.model) == [10, 20]


def test_two_machines_do_not_write_into_one_folder(
    first: trainees.Trainee, second: trainees.Trainee
) -> None:
    first.store("restore")
    first.train(10)
    for verb in ("restore", "save"):
        second.model.mkdir(exist_ok=True)
        said = second.store(verb, 73)
        assert "belongs to the machine 'first 1'" in said
        assert f"gcloud storage rm gs://{trainees.BUCKET}/model-owner" in said
    assert not (first.bucket / "model").exists()


def test_a_machine_that_never_trained_can_finish(
    first: trainees.Trainee, second: trainees.Trainee
) -> None:
    second.store("finish")
    first.store("restore")
    second.store("restore", 73)
    second.store("finish")
    # The other one's claim stands.
    assert (first.bucket / "model-owner").read_text() == "first 1\n"
    first.store("finish")
    assert not (first.bucket / "model-owner").exists()


def test_an_older_folder_does_not_take_the_place_of_a_newer_one(
    first: trainees.Trainee, second: trainees.Trainee
) -> None:
    first.train(10)
    first.store("finish")
    second.store("restore")
    second.train(10, 20)
    second.store("finish")
    said = first.store("restore", 73)
    assert "at step-00000020, this machine's at step-00000010" in said
    assert trainees.whole_steps(first.bucket / "model") == [10, 20]


def test_a_bucket_that_cannot_be_written_is_named(
    first: trainees.Trainee,
) -> None:
    first.train(10)
    first.machine.add("gcloud", 'echo "ERROR: 403" >&2; exit 1')
    said = first.store("save", 74)
    assert "ERROR: 403" in said
    assert f"gs://{trainees.BUCKET} cannot be written" in said


def test_other_words_are_refused(first: trainees.Trainee) -> None:
    assert "'' is no verb" in first.machine.run("store.sh").stderr
    assert "'copy' is no verb" in first.store("copy", 64)
