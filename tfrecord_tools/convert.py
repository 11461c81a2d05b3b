"""Converts AIMMO annotations to sharded TFRecords and COCO JSON.

  python -m tfrecord_tools.convert --input_dir=IN --output_dir=OUT

IN holds AIMMO's JSON files, one per image, and the images, in any folders below
it. OUT gets train-*.tfrecord, train.json (the boxes as COCO JSON), the same for
val, and dataset.json: what was written, left out and rejected, and why.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
import warnings

from absl import flags

from tfrecord_tools import choice_flags, command, label_map, planning

FLAGS = flags.FlagValues()
choice_flags.define(FLAGS)

flags.DEFINE_string(
    "input_dir", None, "folder with the annotation files", flag_values=FLAGS
)
flags.DEFINE_string(
    "output_dir", None, "folder for the data set", flag_values=FLAGS
)
flags.DEFINE_string(
    "image_dir",
    None,
    "folder with the images, if it is not the input folder",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "classes",
    "car,truck,bus,pedestrian",
    "class names; their order gives the ids, from 1 on",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "class_map",
    [],
    "from:to, an annotated class and the class it counts as; repeated",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "image_size",
    None,
    "WIDTHxHEIGHT that images and boxes are stretched to; without it images"
    " keep their size",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_shards",
    None,
    "files per split; without it about 192 MB each",
    lower_bound=1,
    upper_bound=99999,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "max_rejects",
    0.01,
    "largest share of images with a fault; above it nothing is written",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "allow_empty_classes",
    False,
    "accept a class that no annotation has",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_workers",
    None,
    "processes; without it one per core",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "replace the data set in the output folder",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "jpeg_quality",
    95,
    "quality of images that are resized or not plain RGB",
    lower_bound=1,
    upper_bound=100,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_pixels",
    100_000_000,
    "an image with more pixels is rejected before it is decoded",
    lower_bound=1,
    flag_values=FLAGS,
)


def _parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Returns (height, width) from WIDTHxHEIGHT."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--image_size={text} is not WIDTHxHEIGHT in pixels, as in"
            " --image_size=960x512.",
        )
    return int(found[2]), int(found[1])


def _folder(values: flags.FlagValues, name: str) -> pathlib.Path:
    value = values[name].value
    if not value:
        raise command.UserError(
            command.ExitCode.USAGE, f"--{name} is missing: {values[name].help}."
        )
    return pathlib.Path(value)


def _check_folders(options: planning.Options) -> None:
    for name in ("input_dir", "image_dir"):
        path = getattr(options, name)
        if not path.is_dir():
            raise command.UserError(
                command.ExitCode.USAGE, f"--{name}={path} is not a folder."
            )
        if path.resolve() == options.output_dir.resolve():
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--{name} and --output_dir are both {path}. Choose another"
                " folder for the output: train.json and the like would be"
                " taken for annotations.",
            )


def _options(values: flags.FlagValues) -> planning.Options:
    input_dir = _folder(values, "input_dir")
    options = planning.Options(
        input_dir=input_dir,
        image_dir=pathlib.Path(values.image_dir or input_dir),
        output_dir=_folder(values, "output_dir"),
        labels=label_map.make_label_map(
            [name.strip() for name in values.classes.split(",")],
            values.class_map,
        ),
        image_size=_parse_image_size(values.image_size),
        choice=choice_flags.parse_split(values),
        selection=choice_flags.parse_selection(values),
        num_shards=values.num_shards,
        max_rejects=values.max_rejects,
        allow_empty_classes=values.allow_empty_classes,
        num_workers=values.num_workers or len(os.sched_getaffinity(0)),
        overwrite=values.overwrite,
        jpeg_quality=values.jpeg_quality,
        max_pixels=values.max_pixels,
    )
    _check_folders(options)
    return options


def main(values: flags.FlagValues) -> None:
    """Runs the command."""
    options = _options(values)
    # Before TensorFlow is imported: its start-up notes are not the user's, and
    # its errors come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    from tfrecord_tools import conversion

    conversion.convert(options)


def entry() -> int:
    """Runs the command as a console script; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
