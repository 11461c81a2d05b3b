r"""Detects objects in an image or in all images of a folder.

  python -m efficientdet_aimmo.predict --model_dir=MODEL --image=IN \
      --output_dir=OUT

OUT gets detections.json, COCO results with class and file names, and a picture
of each image. Images that cannot be read are listed at the end (exit code 65).
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
    "image",
    None,
    "an image, or a folder that is searched with its subfolders",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output_dir",
    None,
    "folder for results and pictures",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ckpt",
    None,
    "the checkpoint to use; without it the newest of the model_dir",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "min_score",
    None,
    "detections are drawn from this score on; without it from the common"
    " threshold of the model's last evaluation on. The JSON holds all.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite", False, "replace earlier results", flag_values=FLAGS
)
cpu_flag.define(FLAGS)


def main(values: flags.FlagValues) -> None:
    """Detects and writes."""
    from efficientdet_aimmo.evaluation import prediction

    summary = prediction.predict(
        model_dir=values.model_dir,
        checkpoint_path=values.ckpt,
        image=values.image,
        output_dir=values.output_dir,
        min_score=values.min_score,
        overwrite=values.overwrite,
        allow_cpu=values.allow_cpu,
        environment=command.environment(),
    )
    print(summary)


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
