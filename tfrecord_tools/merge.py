"""Merges annotations of many files into one COCO JSON for each split.

  python -m tfrecord_tools.merge --input_dir=IN --output_dir=OUT

Reads what convert reads, by the same rules, and writes OUT/train.json, val.json
if there is a split, and dataset.json: no records and no images. Boxes are in
pixels of the input's images, `file_name` is their path below the image folder.
"""

from __future__ import annotations

import sys

from absl import flags

from tfrecord_tools import command, conversion_flags, formats, images

FLAGS = flags.FlagValues()
FLAGS.append_flag_values(conversion_flags.COMMON)

# Without effect, as no image is written.
_JPEG_QUALITY = 95


def main(values: flags.FlagValues) -> None:
    """Runs the command."""
    options = conversion_flags.options(
        values,
        conversion_flags.Writing(
            image_size=None,
            resize=images.STRETCH,
            image_format=images.KEEP,
            jpeg_quality=_JPEG_QUALITY,
            num_shards=None,
            formats=(formats.BOXES,),
            engine="local",
            beam_args=(),
        ),
    )
    from tfrecord_tools import conversion

    conversion.convert(options)


def entry() -> int:
    """Runs the command as a console script; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
