"""A dry run says what the run will take, and leaves nothing."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import pathlib
import signal
from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import crowded, pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.training import dry_run, machine, need, start
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.training import tiny
from tfrecord_tools import command, schema

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

    def room(self) -> machine.Room:
        return machine.Room(self.free, "a test")


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
            numbers = [tf.constant(1.0 if good else float("nan"))] * 8
            return step_lib.StepResult(*numbers, is_finite=tf.constant(good))

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
    # 200 steps of 0.5 s. Fixed: 500 + 100 + 400; so 500 / 8 for each image,
    # and (500 + 4000 - 1000) / 62.5 = 56 in all.
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
        "largest batch   about 56, a guess: of 4.4 GiB 1000 MiB go to weights"
        " and the like,",
        "                and each image takes 62 MiB",
    ]
    assert disk.startswith("disk            ")
    assert " for 4 checkpoints, " in disk


def test_two_replicas_in_a_folder_that_is_there(
    rehearsals: Rehearsals,
    two_devices: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it is real here but the machine."""
    monkeypatch.setattr(dry_run, "NUM_STEPS", 7)
    config, train = settings(rehearsals.records)
    strategy = tf.distribute.MirroredStrategy(two_devices)
    with strategy.scope():
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
        spread=replicas.Distribution(strategy=strategy),
        val=True,
    )
    assert _tree(rehearsals.folder) == before
    said = capsys.readouterr().out
    assert "Going on after step 3 " in said
    assert "Dry run: 7 steps from step 3 on, with the 32 images" in said
    assert "25.0 s: " not in said
    assert ": 197 steps\n" in said
    assert ": 5 evaluations of 4 batches of 8, 0.250 s a batch\n" in said
    assert " checkpoints and the best, " in said
    assert " MiB of it there already; " in said


def _tree(folder: pathlib.Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path), path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
    )


def test_memory_that_does_not_suffice_before_the_first_step(
    rehearsals: Rehearsals, steps: Steps
) -> None:
    # 400 once, 100 gradients, 12 on the host; 8 images of 40 each.
    assert NEED.host == (512 + 320) * MIB
    rehearsals.machine.free = 831 * MIB
    assert rehearsals.fault(69) == (
        "The host's memory does not suffice: the run takes about 832 MiB more,"
        " an estimate, and 831 MiB are left (limited by a test)."
        " --train_batch_size=8 may be about 7 at most, a guess. Lower it or"
        " image_size, or give grad_checkpoint=true or more --accumulate_steps."
    )
    assert steps.batches == []
    rehearsals.machine.free = 832 * MIB
    rehearsals.run("nowhere")


def test_memory_that_gives_out_in_a_step(
    rehearsals: Rehearsals, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_out(number: int) -> None:
        if number == 2:
            raise tf.errors.ResourceExhaustedError(
                None,
                None,
                "Graph execution error:\n\nOOM when allocating tensor with"
                " shape[8,9] by allocator GPU_0_bfc\n\t [[node x]]",
            )

    steps.act = give_out
    full = machine.Gpu("GPU:0", 590 * MIB, 600 * MIB)
    monkeypatch.setattr(rehearsals.machine, "gpus", lambda: [full])
    monkeypatch.setattr(
        need,
        "estimate",
        lambda *_: dataclasses.replace(NEED, on_host=False),
    )
    assert rehearsals.fault(69) == (
        "Memory does not suffice for 8 images at a time (OOM when allocating"
        " tensor with shape[8,9] by allocator GPU_0_bfc): GPU:0 had 590 MiB of"
        " 600 MiB in use at its peak; a step takes about 620 MiB, an estimate."
        " --train_batch_size=8 may be about 7 at most, a guess. Lower it or"
        " image_size, or give grad_checkpoint=true or more --accumulate_steps."
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


def test_step_that_is_not_finite(
    rehearsals: Rehearsals, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.fails_at = {3, 5}
    said = rehearsals.fault(70)
    assert said.startswith(
        "Step 3 of the dry run gave a loss or gradient that is not finite"
        " (class_loss nan, box_loss nan, "
    )
    assert len(steps.batches) == 4
    steps.batches.clear()
    capsys.readouterr()
    said = rehearsals.fault(70, f"{BATCH},on_nan=skip,max_skipped_steps=1")
    assert "1 such steps were skipped" in said
    assert "is not finite (class_loss nan" in capsys.readouterr().out


def test_request_to_stop(rehearsals: Rehearsals, steps: Steps) -> None:
    def ask(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    steps.act = ask
    assert rehearsals.fault(75) == (
        "Stopped on request (SIGTERM) in the dry run, which had written"
        " nothing."
    )
    assert len(steps.batches) == 2


@pytest.mark.usefixtures("steps")
def test_disk_that_does_not_hold_the_checkpoints(
    rehearsals: Rehearsals,
    capsys: pytest.CaptureFixture[str],
    made_once: state_lib.TrainState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = 3 * made_once.num_bytes()
    monkeypatch.setattr(
        dry_run.model_dir_lib.shutil,
        "disk_usage",
        lambda _: collections.namedtuple("Usage", "free")(free),
    )
    said = rehearsals.fault(74)
    assert "are missing for the checkpoints of the run" in said
    assert "speed  " in capsys.readouterr().out  # the table comes first
    free = made_once.num_bytes()
    assert "two checkpoints take" in rehearsals.fault(74)
