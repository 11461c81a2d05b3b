"""Converts the example photographs, trains on them, evaluates and draws.

    make demo            or    .venv/bin/python examples/demo.py --seed=1

The network is trained from scratch on 32 photographs and evaluated on the same
32: overfitting on purpose. It shows that every part works together, not how
good the detector is on images it has not seen. Every part runs in a process of
its own, with the command a user would type. A demo that was stopped goes on
where it was; one that was finished starts afresh.
"""

from __future__ import annotations

import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from absl import flags

from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.evaluation import report
from tfrecord_tools import command

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "seed", 0, "start of everything random", lower_bound=0, flag_values=FLAGS
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOGRAPHS = "examples/aimmo_street"
RECORDS = "demo/records"

# What a working chain reaches with every seed.
LEAST_AP50 = 0.90
LEAST_AP50_OF_A_CLASS = 0.75


def commands(seed: int, folder: str) -> dict[str, list[str]]:
    """Returns the modules to run and their flags, in order, by heading.

    Args:
      seed: of the training.
      folder: for all that depends on the seed.
    """
    split = [
        f"--val_file_pattern={RECORDS}/val-*.tfrecord",
        f"--val_json_file={RECORDS}/val.json",
    ]
    model = f"--model_dir={folder}/model"
    return {
        "Convert": [
            "tfrecord_tools.convert",
            f"--input_dir={PHOTOGRAPHS}",
            f"--output_dir={RECORDS}",
            "--eval_on_train",
        ],
        "Train": [
            "efficientdet_aimmo.train",
            "--mode=train_and_eval",
            f"--train_file_pattern={RECORDS}/train-*.tfrecord",
            *split,
            "--model_name=efficientdet-d0",
            "--recipe=overfit",
            f"--hparams=seed={seed}",
            "--allow_cpu",
            model,
        ],
        "Evaluate the saved checkpoint": [
            "efficientdet_aimmo.evaluate",
            model,
            *split,
            f"--output_dir={folder}/evaluation",
            "--allow_cpu",
        ],
        "Draw": [
            "efficientdet_aimmo.show",
            model,
            *split,
            f"--output_dir={folder}/pictures",
        ],
    }


def _run(heading: str, arguments: list[str]) -> None:
    """Runs one command; its output goes to the terminal."""
    shown = shlex.join(["python", "-m", *arguments])
    print(f"\n== {heading}\n$ {shown}\n", flush=True)
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT
    ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # The command got it too and is putting its house in order.
            process.wait()
            raise
    if code == command.ExitCode.STOPPED:
        raise command.UserError(
            command.ExitCode.STOPPED,
            f"{heading!r} was stopped. The same command goes on from here.",
        )
    if code:
        known = code in set(command.ExitCode)
        raise command.UserError(
            command.ExitCode(code) if known else command.ExitCode.DATA,
            f"{heading!r} ended with code {code}, its message is above.",
        )
    print(f"\n{heading}: {time.monotonic() - start:.0f} s", flush=True)


def shortfalls(
    trained: report.Report | None, evaluated: report.Report
) -> list[str]:
    """Returns a sentence for everything that a working chain would not show.

    Args:
      trained: what training reported of its last step, None if nothing.
      evaluated: what the saved checkpoint gave in a process of its own.
    """
    metrics = evaluated.metrics
    faults = [f"alarm: {sentence}" for sentence in evaluated.alarms]
    faults += _too_low("all classes", metrics.ap50, LEAST_AP50)
    for item in metrics.classes:
        faults += _too_low(
            f"class {item.name}", item.ap50, LEAST_AP50_OF_A_CLASS
        )
    if trained is None:
        faults.append("training left no evaluation of its own")
    elif trained != evaluated:
        faults.append(
            "the saved checkpoint does not give the numbers that training"
            f" reported: AP50 {_figure(evaluated.metrics)} of step"
            f" {evaluated.step}, {_figure(trained.metrics)} of step"
            f" {trained.step}"
        )
    return faults


def _figure(metrics: metrics_lib.Metrics) -> str:
    return "n/a" if metrics.ap50 is None else f"{metrics.ap50:.6f}"


def _too_low(what: str, ap50: float | None, least: float) -> list[str]:
    if ap50 is not None and ap50 >= least:
        return []
    found = "n/a" if ap50 is None else f"{ap50:.3f}"
    return [f"{what}: AP50 {found}, expected at least {least:.2f}"]


def main(values: flags.FlagValues) -> None:
    """Runs the demo."""
    start = time.monotonic()
    seed = values["seed"].value
    folder = pathlib.Path("demo") / f"seed-{seed}"
    finished = ROOT / folder / "finished"
    if finished.exists():
        print(f"{folder} holds a finished demo: starting afresh")
        shutil.rmtree(ROOT / folder)
    for heading, arguments in commands(seed, str(folder)).items():
        _run(heading, arguments)
    evaluated = report.latest(str(ROOT / folder / "evaluation"))
    if evaluated is None:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{folder}/evaluation holds no evaluation. Run make clean, then"
            " make demo.",
        )
    trained = report.latest(str(ROOT / folder / "model" / "eval"))
    faults = shortfalls(trained, evaluated)
    finished.touch()
    print(f"\n== Result of seed {seed}, on the images it was trained on\n")
    print(report.table(evaluated.metrics))
    print(f"\nPictures:    {folder}/pictures (ground truth beside detections)")
    print(f"TensorBoard: .venv/bin/tensorboard --logdir={folder}/model")
    print(f"Time:        {(time.monotonic() - start) / 60:.1f} min")
    if faults:
        raise command.UserError(
            command.ExitCode.DATA, "\n  ".join(["demo FAILED", *faults])
        )
    print(
        f"PASSED:      AP50 at least {LEAST_AP50:.2f} over all classes and"
        f" {LEAST_AP50_OF_A_CLASS:.2f} for each; the saved checkpoint gives"
        " what training reported"
    )


if __name__ == "__main__":
    sys.exit(command.run(main, FLAGS, __doc__))
