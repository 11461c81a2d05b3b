"""Does a step again that training refused because it was not finite.

  python -m efficientdet_aimmo.replay MODEL_DIR/nan/STEP

Prints the loss, term by term, and the norms of the gradients by part of the
network, then and now, and which images and gradients are not finite. Exits
with 65 if the step does not give the same again.
"""

from __future__ import annotations

import sys

from absl import flags

from tfrecord_tools import command

FLAGS = flags.FlagValues()

flags.DEFINE_string(
    "dir",
    None,
    "what training left of the step: MODEL_DIR/nan/STEP",
    flag_values=FLAGS,
)


def main(values: flags.FlagValues) -> None:
    """Replays, prints and compares."""
    if values.dir is None:
        raise command.UserError(
            command.ExitCode.USAGE,
            "No folder is given. Expected python -m efficientdet_aimmo.replay"
            " MODEL_DIR/nan/STEP.",
        )
    from efficientdet_aimmo.training import nonfinite

    then, _ = nonfinite.load(values.dir)
    table, agrees = nonfinite.compare(then, nonfinite.replay(values.dir))
    print(table)
    if not agrees:
        raise command.UserError(
            command.ExitCode.DATA,
            "The step does not give the same again. What it followed from is"
            " all in the folder: look for another version, another machine or"
            " damaged memory.",
        )
    print("The same as then.")


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "", positional="dir")


if __name__ == "__main__":
    sys.exit(entry())
