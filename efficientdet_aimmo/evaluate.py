r"""Measures a trained model on a split and prints the table.

  python -m efficientdet_aimmo.evaluate --model_dir=MODEL \
      --val_file_pattern=OUT/val*.tfrecord --val_json_file=OUT/val.json

The numbers are those that training reported for the same checkpoint.
"""

from __future__ import annotations

import sys

from absl import flags

from efficientdet_aimmo import cpu_flag
from tfrecord_tools import command

FLAGS = flags.FlagValues()

flags.DEFINE_string(
    "model_dir", None, "what training wrote", required=True, flag_values=FLAGS
)
flags.DEFINE_string(
    "val_file_pattern",
    None,
    "the split's records, as OUT/val*.tfrecord",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "val_json_file",
    None,
    "the split's COCO ground truth; without it the one beside the records",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ckpt",
    None,
    "the checkpoint to measure; without it the newest of the model_dir",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "eval_batch_size",
    None,
    "images at once; without it as in training",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output_dir",
    None,
    "folder that gets <step>.json with all figures; without it none is written",
    flag_values=FLAGS,
)
cpu_flag.define(FLAGS)


def main(values: flags.FlagValues) -> None:
    """Evaluates, prints and perhaps writes."""
    from efficientdet_aimmo.evaluation import report, saved

    found = saved.evaluate(
        model_dir=values.model_dir,
        checkpoint_path=values.ckpt,
        val_file_pattern=values.val_file_pattern,
        val_json_file=values.val_json_file,
        eval_batch_size=values.eval_batch_size,
        allow_cpu=values.allow_cpu,
        environment=command.environment(),
    )
    print(report.text(found))
    if values.output_dir is not None:
        print("Written to " + report.write(found, values.output_dir))


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
