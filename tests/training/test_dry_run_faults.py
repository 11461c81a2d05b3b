"""How a dry run ends that shows that the run would fail."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import tensorflow as tf

from efficientdet_aimmo.training import machine, need
from efficientdet_aimmo.training import model_dir as model_dir_lib
from efficientdet_aimmo.training import state as state_lib
from tests.training import rehearsing

MIB = 2**20
NEED = rehearsing.NEED
Rehearsals = rehearsing.Rehearsals
Steps = rehearsing.Steps
rehearsals, made_once, steps = (
    rehearsing.rehearsals,
    rehearsing.made_once,
    rehearsing.steps,
)


def test_memory_that_does_not_suffice_before_the_first_step(
    rehearsals: Rehearsals, steps: Steps
) -> None:
    # 500 once, 100 gradients, 12 on the host; 8 images of 40 each.
    assert NEED.host == (612 + 320) * MIB
    rehearsals.machine.free = 931 * MIB
    assert rehearsals.fault(69) == (
        "The host's memory does not suffice: the run takes about 932 MiB more,"
        " an estimate, and 931 MiB are left (limited by a test)."
        " --train_batch_size=8 may be about 7 at most, a guess. Lower it or"
        " image_size, or give grad_checkpoint=true or more --accumulate_steps."
    )
    assert steps.batches == []
    rehearsals.machine.free = 932 * MIB
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
    said = rehearsals.fault(
        70, f"{rehearsing.BATCH},on_nan=skip,max_skipped_steps=1"
    )
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
    monkeypatch.setattr(model_dir_lib, "free_bytes", lambda _: free)
    said = rehearsals.fault(74)
    assert "are missing for the checkpoints of the run" in said
    assert "speed  " in capsys.readouterr().out  # the table comes first
    free = made_once.num_bytes()
    assert "two checkpoints take" in rehearsals.fault(74)
