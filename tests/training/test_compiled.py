"""Steps that XLA compiles give the losses of those that it does not."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import detector, layers
from efficientdet_aimmo.training import compiled, step
from tests.hparams import witness_records
from tests.training import test_distribution, tiny
from tfrecord_tools import command

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Compiled as quickly as possible.
_XLA_FLAGS = (
    "--xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
)
_XLA = "use_xla=true"


@pytest.mark.slow  # compiling alone takes ten seconds
def test_losses_after_50_steps_are_those_without_xla() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.compiled_run", _XLA, ""],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": _XLA_FLAGS},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    with_xla, without = found[_XLA], found[""]
    assert with_xla["norms"] == pytest.approx(without["norms"], rel=1e-3)
    # Otherwise nothing was learnt that could differ.
    assert without["losses"][-1] < 0.95 * without["losses"][0]
    means = [np.mean(run["losses"][-10:]) for run in (with_xla, without)]
    assert means[0] == pytest.approx(means[1], rel=0.03)


def _find(use_xla: bool) -> tuple[float, float, bool]:
    """Returns what both passes gave, the update, and whether XLA compiled."""
    statistic = tf.Variable(1.0)

    def both() -> tuple[tf.Tensor, tf.Tensor]:
        run = layers.ForwardPass(training=True)

        def function() -> list[tf.Tensor]:
            run.updates.append(
                layers.Update(statistic, statistic + 2.0, share=0.1)
            )
            return [statistic * 5.0]

        found, updates = compiled.find(function, run, use_xla)
        assert updates[0].variable is statistic
        return found[0], updates[0].value

    traced = tf.function(both, autograph=False).get_concrete_function()
    library = traced.graph.as_graph_def().library.function
    must = any(function.attr["_XlaMustCompile"].b for function in library)
    found, update = map(float, traced())
    return found, update, must


@pytest.mark.parametrize("use_xla", [False, True])
def test_both_passes_are_compiled_and_hand_back(use_xla: bool) -> None:
    assert _find(use_xla) == (5.0, 3.0, use_xla)


def test_nothing_is_said_without_it() -> None:
    assert compiled.check(tiny.config("grad_checkpoint=true"), 2) == []


def test_a_cpu_is_warned_of() -> None:
    lines = compiled.check(tiny.config(_XLA), 1)
    assert len(lines) == 1
    assert "use_xla=true on a CPU" in lines[0]
    # Two replicas, each with batch norm of its own.
    alone = tiny.config(f"{_XLA},sync_batch_norm_below=0")
    assert len(compiled.check(alone, 2)) == 1


@pytest.mark.parametrize(
    ("text", "num_replicas", "words"),
    [
        ("grad_checkpoint=true", 1, "and grad_checkpoint=true: XLA computes"),
        ("", 2, "as each has 1 images at once, fewer than 16"),
        ("train_batch_size=30", 2, "as each has 15 images at once"),
        (
            "train_batch_size=64,accumulate_steps=4",
            2,
            "as each has 8 images at once",
        ),
    ],
)
def test_what_does_not_go_together(
    text: str, num_replicas: int, words: str
) -> None:
    config = tiny.config(f"{_XLA},{text}" if text else _XLA)
    with pytest.raises(command.UserError, match=words) as caught:
        compiled.check(config, num_replicas)
    assert caught.value.exit_code == command.ExitCode.USAGE


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers, which XLA compiles in no time."""
    monkeypatch.setattr(detector, "Detector", witness_records.TinyNetwork)


def _check_same(
    first: list[step.StepResult], second: list[step.StepResult]
) -> None:
    """Compares steps, whose random draws must be the same too."""
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        assert bool(one.is_finite)
        for name in step.StepResult._fields:
            values = [float(getattr(found, name)) for found in (one, other)]
            assert values[0] == pytest.approx(values[1], rel=1e-4), name
    assert first[0].total_loss != first[2].total_loss


@pytest.mark.parametrize(
    "more",
    [
        "",
        ",accumulate_steps=2",
        ",precision=float16,loss_scale_start=16",
        ",precision=float16,loss_scale_start=16,accumulate_steps=2",
        ",var_freeze_expr=tiny/k",
        ",iou_loss_type=ciou,optimizer=adam",
    ],
)
@pytest.mark.usefixtures("tiny_network")
def test_goes_together_with(more: str) -> None:
    runs = []
    for text in ("use_xla=false", _XLA):
        trainer = tiny.Trainer(text + more)
        runs.append([trainer.step(tiny.batch()) for _ in range(3)])
        refused = tiny.batch(np.inf)
        before = trainer.values()
        if "float16" not in more:
            assert not bool(trainer.step(refused).is_finite)
            assert tiny.same(before, trainer.values())
    _check_same(*runs)


@pytest.mark.usefixtures("tiny_network")
def test_replicas_compile_each_their_own(
    mirrored: tf.distribute.Strategy,
) -> None:
    runs = []
    batch = test_distribution.street_batch()
    for text in ("use_xla=false", _XLA):
        run = test_distribution.Run(
            mirrored, f",sync_batch_norm_below=0,{text}"
        )
        results = [run.step(batch)[0] for _ in range(3)]
        runs.append(results)
        for copies in run.copies():
            np.testing.assert_array_equal(copies[0], copies[1])
    _check_same(*runs)
