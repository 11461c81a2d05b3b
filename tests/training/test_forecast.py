"""The table of a dry run, by hand."""

from __future__ import annotations

import dataclasses

from efficientdet_aimmo.training import forecast

MIB = 2**20

# Two untimed kinds of numbers: the first step, and the four after it.
_STEPS = (30.0, 9.0, 9.0, 9.0, 9.0, 0.5, 0.4, 0.6, 0.5)
_WAITS = (9.0, 9.0, 9.0, 9.0, 9.0, 0.1, 0.0, 0.1, 0.3)


def _phase(name: str = "", num_left: int = 1000) -> forecast.Phase:
    return forecast.Phase(
        name=name, num_left=num_left, seconds=_STEPS, waits=_WAITS
    )


def _gpu(name: str, training: int, images: int = 4) -> forecast.Memory:
    return forecast.Memory(
        name=name,
        fixed=200 * MIB,
        training=training * MIB,
        evaluation=900 * MIB,
        limit=15000 * MIB,
        images=images,
    )


BOTH = forecast.Forecast(
    batch_size=8,
    parts=2,
    phases=(_phase(),),
    evaluations=forecast.Evaluations(
        num_left=5, num_batches=25, batch_size=4, seconds=(7.0, 0.2, 0.4, 0.3)
    ),
    memories=(_gpu("GPU:0", 2000), _gpu("GPU:1", 1800)),
    host=forecast.Host(
        before=1024 * MIB,
        peak=1536 * MIB,
        free=3072 * MIB,
        limited_by="the system",
        shuffle_buffer=700 * MIB,
    ),
    disk=forecast.Disk(
        checkpoint=50 * MIB,
        num_checkpoints=4,
        has_best=True,
        taken=100 * MIB,
        free=2048 * MIB,
    ),
)


def test_table_by_hand() -> None:
    # 1000 steps of 0.5 s and 5 evaluations of 25 * 0.3 s; on the fuller GPU
    # (15000 - 200) / 450 = 32.9 images of 4 at a time, so 64 of 8.
    assert forecast.text(BOTH).splitlines() == [
        "speed           16.0 images/s: 0.500 s a step, 25% of it waiting for"
        " input",
        "                (median of steps 6 to 9; the first took 30.0 s, as it"
        " is traced and compiled)",
        "time to the end 8 min 58 s",
        "                8 min 20 s: 1000 steps",
        "                38 s: 5 evaluations of 25 batches of 4, 0.300 s a"
        " batch",
        "                (not in it: COCO's figures, and the writing of"
        " checkpoints)",
        "memory GPU:0    peak 2.0 GiB in training, 900 MiB in evaluation,"
        " 12.7 GiB of 14.6 GiB were free",
        "memory GPU:1    peak 1.8 GiB in training, 900 MiB in evaluation,"
        " 12.9 GiB of 14.6 GiB were free",
        "memory host     peak 1.5 GiB, 512 MiB of it since the steps began;"
        " 3.0 GiB were free (limited by the system)",
        "                the run takes 700 MiB more for its shuffle_buffer",
        "largest batch   about 64, a guess: of 14.6 GiB 200 MiB go to weights"
        " and the like,",
        "                and each image takes 450 MiB; 4 of 8 are in it at a"
        " time",
        "disk            250 MiB for 4 checkpoints and the best, 50 MiB each,"
        " 100 MiB of it there already; 2.0 GiB are free",
    ]


def test_phases_are_timed_apart() -> None:
    slow = dataclasses.replace(
        _phase("after the thaw", 10), seconds=tuple(2 * s for s in _STEPS)
    )
    found = dataclasses.replace(
        BOTH, phases=(_phase("while frozen", 100), slow), evaluations=None
    )
    assert found.left_s == 100 * 0.5 + 10 * 1.0
    said = forecast.text(found)
    assert "16.0 images/s while frozen: 0.500 s" in said
    assert "8.0 images/s after the thaw: 1.000 s" in said
    assert "50 s: 100 steps while frozen" in said


def test_disk_that_is_short() -> None:
    full = dataclasses.replace(BOTH.disk, free=120 * MIB)
    assert full.missing == (5 * 50 - 100 - 120) * MIB
    assert BOTH.disk.missing == 0
    store = dataclasses.replace(BOTH.disk, free=None)
    assert store.missing == 0
    said = forecast.text(dataclasses.replace(BOTH, disk=store))
    assert said.endswith("whether the object store takes them is not checked")


def test_no_guess_of_what_cannot_be_known() -> None:
    alike = dataclasses.replace(BOTH, memories=(_gpu("GPU:0", 200),))
    assert alike.largest_batch == 0
    assert "no guess: the images took too little" in forecast.text(alike)
    unknown = dataclasses.replace(BOTH, memories=())
    assert unknown.largest_batch == 0
    assert "no guess: this device does not tell" in forecast.text(unknown)
