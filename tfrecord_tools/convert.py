"""Converts annotations to sharded TFRecords and COCO JSON.

  python -m tfrecord_tools.convert --input_dir=IN --output_dir=OUT

IN holds AIMMO's or COCO's JSON files, Pascal VOC's XML files or a YOLO data
set, and the images, in any folders below it. OUT gets train-*.tfrecord,
train.json (the boxes as COCO JSON), the same for val, and dataset.json: what
was written, left out and rejected, and why. The same command again goes on
where a stopped one ended.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
import warnings

from absl import flags

from tfrecord_tools import command, conversion_flags, formats, images

FLAGS = flags.FlagValues()
FLAGS.append_flag_values(conversion_flags.COMMON)

flags.DEFINE_string(
    "image_size",
    None,
    "WIDTHxHEIGHT that images and boxes are resized to; without it images keep"
    " their size",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "resize",
    images.STRETCH,
    [images.STRETCH, images.LETTERBOX],
    "how: stretch fills the size, letterbox keeps the aspect ratio and fills up"
    " at the right or below",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "image_format",
    images.KEEP,
    [images.KEEP, images.JPEG],
    "keep stores JPEGs and PNGs as they are, jpeg makes JPEGs of PNGs",
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
flags.DEFINE_integer(
    "jpeg_quality",
    95,
    "quality of images that are resized or not plain RGB, or"
    " PNGs by --image_format=jpeg",
    lower_bound=1,
    upper_bound=100,
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "output_format",
    [formats.RECORDS],
    "tfrecord (records and COCO JSON), coco (COCO JSON, and images as files),"
    " yolo (images and labels as files, data.yaml); several with commas",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "beam"],
    "local uses this machine's cores; beam is Apache Beam, on this machine or"
    " on what --beam_args names",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "beam_args",
    [],
    "an option of Beam's own, as --beam_args=--runner=DataflowRunner; repeated",
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


def _parse_formats(texts: list[str]) -> tuple[str, ...]:
    """Returns the formats, each once, in one order."""
    names = [name.strip() for text in texts for name in text.split(",")]
    unknown = [name for name in names if name not in formats.FORMATS]
    if unknown:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--output_format={','.join(texts)} has {unknown[0]!r}; expected"
            f" {', '.join(formats.FORMATS)}, several with commas.",
        )
    return tuple(name for name in formats.FORMATS if name in names)


def _check_flags(values: flags.FlagValues) -> None:
    """Checks that no flag is without effect, and that Beam is there."""
    message = ""
    if values.resize != images.STRETCH and values.image_size is None:
        message = (
            f"--resize={values.resize} says how, but not to what size: give"
            " --image_size=WIDTHxHEIGHT too."
        )
    elif values.beam_args and values.engine != "beam":
        message = (
            f"--beam_args={values.beam_args[0]} is for Beam, and"
            f" --engine={values.engine}. Give --engine=beam too."
        )
    elif values.engine == "beam" and not importlib.util.find_spec(
        "apache_beam"
    ):
        message = (
            "--engine=beam needs Apache Beam, which is not installed. Install"
            " it with: pip install efficientdet-aimmo[beam]"
        )
    if message:
        raise command.UserError(command.ExitCode.USAGE, message)


def main(values: flags.FlagValues) -> None:
    """Runs the command."""
    _check_flags(values)
    options = conversion_flags.options(
        values,
        conversion_flags.Writing(
            image_size=_parse_image_size(values.image_size),
            resize=values.resize,
            image_format=values.image_format,
            jpeg_quality=values.jpeg_quality,
            num_shards=values.num_shards,
            formats=_parse_formats(values.output_format),
            engine=values.engine,
            beam_args=tuple(values.beam_args),
        ),
    )
    # Before TensorFlow is imported: its start-up notes are not the user's, and
    # its errors come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    if options.engine == "beam":
        # Its notes on what else could be installed.
        logging.getLogger().setLevel(logging.ERROR)
    from tfrecord_tools import conversion

    conversion.convert(options)


def entry() -> int:
    """Runs the command as a console script; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
