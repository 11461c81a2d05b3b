"""Looks whether a long training takes more and more of its machine.

    python -m benchmarks.flat

A tiny detector is trained with a checkpoint and an evaluation every 100 steps.
From step 500 on the memory of the process must grow by less than 2 % to the
end, and the open files and threads stay as many. Exits with 1 if not.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

from absl import flags

from benchmarks import tiny_run
from efficientdet_aimmo import train
from tfrecord_tools import command

MOST_GROWTH = 0.02
STEPS_PER_EPOCH = 4  # 32 photographs, 8 a step

FLAGS = flags.FlagValues()
flags.DEFINE_integer("steps", 2000, "length of the training", flag_values=FLAGS)
flags.DEFINE_integer(
    "every", 100, "steps between evaluations", flag_values=FLAGS
)
flags.DEFINE_integer(
    "settled", 500, "the step from which on all is flat", flag_values=FLAGS
)


class Sample(NamedTuple):
    """What the process takes.

    Attributes:
      step: steps done.
      memory_mb: resident, in MB.
      files: open files, sockets and the like.
      threads: threads.
    """

    step: int
    memory_mb: float
    files: int
    threads: int


def sample(step: int) -> Sample:
    """Returns what this process takes now."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = (line.partition(":") for line in file)
        found = {
            name: value.split()[0] for name, _, value in lines if value.strip()
        }
    return Sample(
        step,
        int(found["VmRSS"]) / 1024,
        len(os.listdir("/proc/self/fd")),
        int(found["Threads"]),
    )


@contextlib.contextmanager
def sample_steps(every: int) -> Iterator[list[Sample]]:
    """Gives a list that a training of this process adds to as it goes on."""
    from efficientdet_aimmo.training import monitor

    samples: list[Sample] = []
    end_step = monitor.Monitor.end_step

    def end_and_sample(self: monitor.Monitor, step: int, *more: Any) -> None:
        end_step(self, step, *more)
        if step % every == 0:
            samples.append(sample(step))

    with mock.patch.object(monitor.Monitor, "end_step", end_and_sample):
        yield samples


def faults(samples: Sequence[Sample], settled: int) -> list[str]:
    """Returns what grew between a step and the end."""
    found = []
    late = [each for each in samples if each.step >= settled]
    growth = late[-1].memory_mb / late[0].memory_mb - 1.0
    if growth >= MOST_GROWTH:
        found.append(f"memory grew by {growth:.1%}")
    for name in ("files", "threads"):
        counts = {getattr(each, name) for each in late}
        if len(counts) > 1:
            found.append(f"{name}: from {min(counts)} to {max(counts)}")
    return found


def main(values: flags.FlagValues) -> None:
    """Trains, prints a table, and says what grew."""
    tiny_run.import_all()
    with (
        sample_steps(values.every) as samples,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = pathlib.Path(name)
        given = tiny_run.arguments(
            tiny_run.convert(folder / "records"),
            values.steps // STEPS_PER_EPOCH,
            f"map_freq={values.every // STEPS_PER_EPOCH}",
            f"--save_checkpoints_steps={values.every}",
            f"--model_dir={folder / 'model'}",
        )
        code = command.run(train.main, train.FLAGS, "", ["train", *given])
    if code != 0:
        sys.exit(code)
    print(f"{'step':>6}{'memory, MB':>12}{'files':>7}{'threads':>9}")
    for each in samples:
        print(
            f"{each.step:>6}{each.memory_mb:>12.1f}{each.files:>7}"
            f"{each.threads:>9}"
        )
    found = faults(samples, values.settled)
    print("; ".join(found) or f"flat from step {values.settled} on")
    if found:
        sys.exit(1)


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
