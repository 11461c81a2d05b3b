"""Reads every record back and says what is wrong, in a sentence each.

  python -m tfrecord_tools.validate --data_dir=OUT

Checks a data set of tfrecord_tools.convert against its manifest and its COCO
JSON, or records that another tool wrote. Errors end with exit code 65; warnings
do not.
"""

from __future__ import annotations

import glob
import os
import sys

from absl import flags

from tfrecord_tools import command, label_map

FLAGS = flags.FlagValues()

flags.DEFINE_string(
    "input_pattern",
    None,
    "the files of records, as in 'OUT/*.tfrecord'",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data_dir",
    None,
    "folder of a data set; the same as --input_pattern=FOLDER/*.tfrecord",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "classes",
    None,
    "for records without a manifest: class names in the order of their ids,"
    " from 1 on",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "write_manifest",
    False,
    "write dataset.json and COCO JSON beside another tool's records, if they"
    " have no errors; needs --classes",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_examples",
    10,
    "sentences shown of each kind of finding; all are counted",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_workers",
    None,
    "processes; without it one per core",
    lower_bound=1,
    flag_values=FLAGS,
)


def _pattern(values: flags.FlagValues) -> str:
    if bool(values.input_pattern) == bool(values.data_dir):
        raise command.UserError(
            command.ExitCode.USAGE,
            "Give --data_dir=FOLDER or --input_pattern='FOLDER/*.tfrecord',"
            " one of them: which records to check.",
        )
    if values.input_pattern:
        return str(values.input_pattern)
    if not os.path.isdir(values.data_dir):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--data_dir={values.data_dir} is not a folder.",
        )
    return os.path.join(glob.escape(values.data_dir), "*.tfrecord")


def _classes(values: flags.FlagValues) -> tuple[str, ...] | None:
    if values.classes is None:
        return None
    names = [name.strip() for name in values.classes.split(",")]
    return label_map.make_label_map(names, []).classes


def main(values: flags.FlagValues) -> None:
    """Runs the command."""
    pattern, classes = _pattern(values), _classes(values)
    from tfrecord_tools import validation

    validation.validate(
        validation.Options(
            pattern=pattern,
            classes=classes,
            write_manifest=values.write_manifest,
            max_examples=values.max_examples,
            num_workers=values.num_workers or len(os.sched_getaffinity(0)),
        )
    )


def entry() -> int:
    """Runs the command as a console script; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
