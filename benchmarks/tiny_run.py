"""A training that takes seconds, started as a fork that can be killed.

    python -m benchmarks.tiny_run FLAGS

is the training command with the short backbone that the forks have.
"""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from efficientdet_aimmo import train
from tfrecord_tools import command

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLL_S = 0.005

# Few levels, and below few layers, as building takes most of the time.
# Everything that a run keeps: an optimizer with moments, a moving average, a
# thaw in the middle of an epoch, stochastic depth, augmentation.
SETTINGS = (
    "image_size=128x64,max_level=5,fpn_cell_repeats=1,box_class_repeats=1,"
    "fpn_num_filters=16,optimizer=adam,learning_rate=0.002,"
    "learning_rate_batch=0,moving_average_decay=0.9,survival_prob=0.8,"
    "var_freeze_expr=efficientnet,freeze_epochs=1.5,num_pictures=2,"
    "keep_checkpoints=2,log_steps=2,seed=3"
)

# What a training is doing, in the order in which it comes to it.
PHASES = (
    "process starts",
    "checks, building",
    "first step",
    "steps",
    "checkpoint writing",
    "evaluation",
    "process ends",
)


def convert(folder: pathlib.Path) -> pathlib.Path:
    """Converts the example photographs, as training and validation images."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tfrecord_tools.convert",
            f"--input_dir={ROOT / 'examples' / 'aimmo_street'}",
            f"--output_dir={folder}",
            "--image_size=128x64",
            "--num_shards=2",
            "--num_workers=1",
            "--eval_on_train",
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return folder


def arguments(
    records: pathlib.Path, num_epochs: int, settings: str, *more: str
) -> list[str]:
    """Returns the training's flags.

    Args:
      records: what `convert` returned.
      num_epochs: of four steps each.
      settings: beside those that all trainings here have.
      more: flags.
    """
    return [
        "--mode=train_and_eval",
        f"--train_file_pattern={records}/train*.tfrecord",
        f"--val_file_pattern={records}/val*.tfrecord",
        "--model_name=efficientdet-lite0",
        "--train_batch_size=8",
        "--eval_batch_size=8",
        f"--num_epochs={num_epochs}",
        f"--hparams={SETTINGS},{settings}",
        "--allow_cpu",
        *more,
    ]


def import_all() -> None:
    """Imports what a training imports, and sees that nothing has begun.

    Raises:
      RuntimeError: TensorFlow computes already, which no fork survives.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.python.eager import context

    from efficientdet_aimmo.training import start

    assert start
    _shorten_backbone()
    if context.context()._context_handle is not None:
        raise RuntimeError("TensorFlow is initialised before the fork.")


def _shorten_backbone() -> None:
    """Leaves out the repeats of every stage."""
    from efficientdet_aimmo.model import efficientnet

    stages = efficientnet._STAGES
    short = tuple(dataclasses.replace(stage, repeats=1) for stage in stages)
    mock.patch.object(efficientnet, "_STAGES", short).start()


class Child:
    """A training in a process of its own."""

    def __init__(self, pid: int, phase: mmap.mmap) -> None:
        self._pid = pid
        self._phase = phase

    def phase(self) -> str:
        """Returns what it is doing now."""
        return PHASES[self._phase[0]]

    def kill(self, kind: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self._pid, kind)

    def wait(self, most_s: float | None) -> int | None:
        """Returns its exit code, None if it is alive after that time.

        Killed by a signal it is 128 and the signal's number, as in a shell.
        """
        end = None if most_s is None else time.perf_counter() + most_s
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG if end else 0)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code
            if end is not None and time.perf_counter() >= end:
                return None
            time.sleep(POLL_S)


class TinyRun:
    """A training in a folder, which is started again and again."""

    def __init__(self, model_dir: pathlib.Path, given: Sequence[str]) -> None:
        self._arguments = ["train", *given, f"--model_dir={model_dir}"]
        self._log = model_dir.with_suffix(".log")

    def log(self) -> str:
        """Returns what the newest start said."""
        return self._log.read_text(errors="replace")

    def fork(self) -> Child:
        """Starts the training."""
        phase = mmap.mmap(-1, 1)
        pid = os.fork()
        if pid:
            return Child(pid, phase)
        code = 1
        try:
            output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            _note_phases(phase)
            code = command.run(train.main, train.FLAGS, "", self._arguments)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _note_phases(shared: mmap.mmap) -> None:
    """Lets this process tell its parent what it is doing."""
    from efficientdet_aimmo import checkpoint
    from efficientdet_aimmo.training import keeping
    from efficientdet_aimmo.training import step as step_lib

    def noting(
        inner: Callable[..., Any], during: str, after: str
    ) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            shared[0] = PHASES.index(during)
            found = inner(*given)
            shared[0] = PHASES.index(after)
            return found

        return noted

    make = step_lib.make_train_step

    def make_noted(*given: Any) -> Callable[..., Any]:
        step = make(*given)
        first = noting(step, "first step", "steps")
        calls = iter([first])
        return lambda batch: next(calls, step)(batch)

    for module, name, noted in (
        (step_lib, "make_train_step", make_noted),
        (checkpoint, "save", noting(checkpoint.save, *PHASES[4:2:-1])),
        (
            keeping,
            "measure_and_keep",
            noting(keeping.measure_and_keep, PHASES[5], PHASES[3]),
        ),
        (train, "_train", noting(train._train, PHASES[1], PHASES[6])),
    ):
        mock.patch.object(module, name, noted).start()


def _files(model_dir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields what must be the same, of checkpoints the newest and the best.

    An older one that was being removed when a run died may be left.
    """
    yield model_dir / "result.json"
    yield from model_dir.glob("eval/*.json")
    for folder in ("checkpoints", "best"):
        newest = sorted(model_dir.glob(f"{folder}/step-*"))[-1:]
        yield from (path for kept in newest for path in kept.iterdir())


def digests(model_dir: pathlib.Path) -> dict[str, str]:
    """Returns a checksum of each file that must be the same, by name."""
    return {
        str(path.relative_to(model_dir)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(_files(model_dir))
    }


def content(model_dir: pathlib.Path) -> str:
    """Returns a line on what the newest checkpoint holds.

    It computes in TensorFlow: no training can be forked after it.
    """
    from efficientdet_aimmo import checkpoint

    newest, _ = checkpoint.latest(str(model_dir))
    assert newest is not None
    names = list(newest.values())
    averages = sum(name.endswith(checkpoint.AVERAGE_SUFFIX) for name in names)
    moments = sum(name.startswith(checkpoint.OPTIMIZER) for name in names)
    return (
        f"the last of the checkpoints compared has {len(names)} variables, of"
        f" which {averages} are averages and {moments} the optimizer's"
    )


if __name__ == "__main__":
    import_all()
    sys.exit(command.run(train.main, train.FLAGS, __doc__ or ""))
