r"""Draws ground truth beside detections for the images of a split.

  python -m efficientdet_aimmo.show --model_dir=MODEL \
      --val_file_pattern=OUT/val*.tfrecord --val_json_file=OUT/val.json \
      --output_dir=PICTURES
"""

from __future__ import annotations

import sys

from absl import flags

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
    "output_dir",
    None,
    "folder for the pictures; those of an earlier call are replaced",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ckpt",
    None,
    "the checkpoint to use; without it the newest of the model_dir",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_images",
    None,
    "draw only so many, the first of the records",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "min_score",
    None,
    "detections are drawn from this score on; without it from the common"
    " threshold of the model's last evaluation on",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)


def main(values: flags.FlagValues) -> None:
    """Draws."""
    from efficientdet_aimmo.evaluation import comparison

    summary = comparison.show(
        model_dir=values.model_dir,
        checkpoint_path=values.ckpt,
        val_file_pattern=values.val_file_pattern,
        val_json_file=values.val_json_file,
        output_dir=values.output_dir,
        max_images=values.max_images,
        min_score=values.min_score,
    )
    print(summary)


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
