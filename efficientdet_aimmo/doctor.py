r"""Says whether this machine can train on its GPU, and what does not fit.

  python -m efficientdet_aimmo.doctor
  python -m efficientdet_aimmo.doctor --quick      # no TensorFlow, no table
  python -m efficientdet_aimmo.doctor --json

Looks at card, driver, libcuda, CUDA, cuDNN, TensorFlow, CPU, memory and disk,
at each by itself. Exits with 69 if something is broken.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import sys

from absl import flags

from efficientdet_aimmo import cpu_flag
from efficientdet_aimmo.diagnosis import (
    asking,
    facts,
    gathering,
    judging,
    rows,
    table,
)
from tfrecord_tools import command, storage

FLAGS = flags.FlagValues()

flags.DEFINE_string(
    "model_dir",
    ".",
    "where the disk is looked at: the folder that training will write",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "quick",
    False,
    "leave out what takes seconds, TensorFlow's own view, and print only what"
    " is broken, or one line",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "json", False, "print facts and verdicts as JSON", flag_values=FLAGS
)
cpu_flag.define(FLAGS)

_MOST_WIDTH = 100


def main(values: flags.FlagValues) -> None:
    """Looks, judges and prints."""
    folder = values.model_dir
    found = gathering.gather(
        gathering.Place(
            root=pathlib.Path("/"),
            folders=sys.path,
            python=sys.executable,
            environment=command.environment(),
            disk_path=None if storage.is_remote(folder) else folder,
        ),
        asking.ask,
        with_tensorflow=not values.quick,
    )
    report(
        found,
        allow_cpu=values.allow_cpu,
        quick=values.quick,
        as_json=values.json,
        width=min(shutil.get_terminal_size().columns, _MOST_WIDTH),
    )


def report(
    found: facts.Facts,
    *,
    allow_cpu: bool,
    quick: bool,
    as_json: bool,
    width: int,
) -> None:
    """Prints what is to be said of a machine.

    Raises:
      UserError: DEVICE; something is broken.
    """
    judgement = judging.judge(found)
    broken = judgement.broken(allow_cpu=allow_cpu)
    if as_json:
        content = {
            "usable": not broken,
            **table.to_json(judgement),
            "facts": facts.to_json(found),
        }
        print(json.dumps(content, indent=1))
    elif not quick:
        print(table.text(judgement, width) + "\n")
    verdict = summary(judgement, allow_cpu=allow_cpu)
    if not broken:
        if not as_json:
            print(verdict)
        return
    if quick and not as_json:
        verdict += "\n" + table.sentences(broken)
    raise command.UserError(command.ExitCode.DEVICE, verdict)


def summary(judgement: rows.Judgement, *, allow_cpu: bool) -> str:
    """Returns the verdict in a sentence or two."""
    broken = judgement.broken(allow_cpu=allow_cpu)
    is_gpu_usable = not any(
        row.is_gpu for row in judgement.broken(allow_cpu=False)
    )
    if broken:
        names = ", ".join(row.what for row in broken)
        hint = ""
        if all(row.is_gpu for row in broken):
            hint = (
                " To compute on the CPU, give --allow_cpu, here and to the"
                " commands that compute."
            )
        return f"Training on a GPU does not work here: {names}.{hint}"
    warned = ", ".join(row.what for row in judgement.warnings())
    look = f" Worth a look: {warned}." if warned else ""
    if not is_gpu_usable:
        return f"No usable GPU; training on the CPU works (--allow_cpu).{look}"
    card = next(row.found for row in judgement.rows if row.what == "GPU")
    return f"Training works on the GPU: {card}.{look}"


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
