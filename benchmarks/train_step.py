"""Measures a training step against one of the bare Keras backbone.

    python -m benchmarks.train_step

EfficientDet-D0 and tf.keras.applications.EfficientNetB0 without its top, both
trained with SGD on four images of 512x512, float32. Steps are taken in turn in
one process, and the medians count; memory and the time to the first step are
those of processes of their own. Processors' time stands beside the clock's,
because others on the machine change it less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from absl import flags

from hparams import override, presets
from tfrecord_tools import command

LEAST_SPEED = 1.15
MOST_GIB = 2.6
MOST_FIRST_S = 10.0
_BATCH, _SIZE = 4, 512

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "rounds", 15, "steps of each that are timed", flag_values=FLAGS
)
flags.DEFINE_bool(
    "alone",
    False,
    "only print, of a process with the detector alone: seconds and processors'"
    " seconds to the end of the first step, GiB that the steps add, GiB in all",
    flag_values=FLAGS,
)


def _detector_step() -> Callable[[], object]:
    from benchmarks import training_steps

    config = override.override(
        presets.get_config("efficientdet-d0"),
        f"num_classes=90,train_batch_size={_BATCH},learning_rate=0.001",
    )
    return training_steps.make_step(config)


def _backbone_step() -> Callable[[], object]:
    """Returns a step as model.fit's: forward, gradients, SGD."""
    import tensorflow as tf

    backbone = tf.keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(_SIZE, _SIZE, 3)
    )
    optimizer = tf.keras.optimizers.legacy.SGD(0.001, 0.9)
    images = tf.random.stateless_uniform(
        [_BATCH, _SIZE, _SIZE, 3], [1, 2], 0.0, 255.0
    )

    @tf.function(autograph=False)
    def take() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(backbone(images, training=True) ** 2)
        variables = backbone.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return lambda: float(take())


def _alone() -> tuple[float, ...]:
    """Returns what --alone prints."""
    from benchmarks import training_steps
    from efficientdet_aimmo.model import activations

    activations.compile_quietly()
    clocks = (time.perf_counter, time.process_time)
    starts = [clock() for clock in clocks]
    before = training_steps.resident_mib()
    take = _detector_step()
    take()
    seconds = [c() - start for c, start in zip(clocks, starts, strict=True)]
    training_steps.forget_peak()
    for _ in range(3):
        take()
    peak = training_steps.peak_mib()
    return *seconds, (peak - before) / 1024, peak / 1024


def main(values: flags.FlagValues) -> None:
    """Measures and prints."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if values.alone:
        print(*_alone())
        return
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_step", "--alone"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    first_s, first_cpu_s, added, peak = map(float, done.stdout.split())
    steps = [_backbone_step(), _detector_step()]
    wall: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for number in range(values.rounds + 1):
        for take, walls, cpus in zip(steps, wall, cpu, strict=True):
            start, cpu_start = time.perf_counter(), time.process_time()
            take()
            if number:  # the first traces
                walls.append(time.perf_counter() - start)
                cpus.append(time.process_time() - cpu_start)
    for name, found in (("on the clock", wall), ("processors' time", cpu)):
        bare, ours = map(statistics.median, found)
        print(
            f"images/s of the bare backbone's, {name}: {bare / ours:.2f}"
            f" (steps of {bare:.2f} and {ours:.2f} s), at least {LEAST_SPEED}"
        )
    print(
        f"memory that steps add: {added:.2f} GiB, at most {MOST_GIB}; the"
        f" process in all: {peak:.2f} GiB"
    )
    print(
        f"first step after {first_s:.1f} s, {first_cpu_s:.1f} s of processors'"
        f" time, at most {MOST_FIRST_S:.0f}"
    )


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
