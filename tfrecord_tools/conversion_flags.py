"""The flags of the commands that read annotations, and what they ask for."""

from __future__ import annotations

import dataclasses
import os

from absl import flags

from tfrecord_tools import (
    annotation_formats,
    choice_flags,
    command,
    coordinates,
    label_map,
    planning,
    storage,
)

COMMON = flags.FlagValues()

flags.DEFINE_string(
    "input_dir", None, "folder with the annotation files", flag_values=COMMON
)
flags.DEFINE_string(
    "output_dir", None, "folder for the data set", flag_values=COMMON
)
flags.DEFINE_string(
    "image_dir",
    None,
    "folder with the images, if it is not the input folder",
    flag_values=COMMON,
)
flags.DEFINE_string(
    "classes",
    None,
    "class names; their order gives the ids, from 1 on; without it"
    " car,truck,bus,pedestrian for AIMMO, elsewhere all names of the data set",
    flag_values=COMMON,
)
flags.DEFINE_enum(
    "format",
    annotation_formats.AUTO,
    [annotation_formats.AUTO, *annotation_formats.ALL],
    "the annotations' format; auto: what the folder shows",
    flag_values=COMMON,
)
flags.DEFINE_enum(
    "coordinates",
    coordinates.AUTO,
    [coordinates.AUTO, *coordinates.ALL],
    "what the boxes' numbers are; auto: as the format says, in AIMMO's files as"
    " the data shows",
    flag_values=COMMON,
)
flags.DEFINE_multi_string(
    "class_map",
    [],
    "from:to, an annotated class and the class it counts as; repeated",
    flag_values=COMMON,
)
choice_flags.define(COMMON)
flags.DEFINE_float(
    "max_rejects",
    0.01,
    "largest share of images with a fault; above it nothing is written",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=COMMON,
)
flags.DEFINE_bool(
    "allow_empty_classes",
    False,
    "accept a class that no annotation has",
    flag_values=COMMON,
)
flags.DEFINE_integer(
    "num_workers",
    None,
    "processes; without it one per core",
    lower_bound=1,
    flag_values=COMMON,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "replace the data set in the output folder",
    flag_values=COMMON,
)
flags.DEFINE_integer(
    "max_pixels",
    100_000_000,
    "an image with more pixels is rejected before it is decoded",
    lower_bound=1,
    flag_values=COMMON,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
    """What is written, and by what; see planning.Options."""

    image_size: tuple[int, int] | None
    resize: str
    image_format: str
    jpeg_quality: int
    num_shards: int | None
    formats: tuple[str, ...]
    engine: str
    beam_args: tuple[str, ...]


def options(values: flags.FlagValues, writing: Writing) -> planning.Options:
    """Returns what the flags ask for.

    Args:
      values: parsed flags; all of COMMON are among them.
      writing: what is written.

    Raises:
      command.UserError: a flag is missing or wrong, or two contradict each
        other.
    """
    input_dir = _folder(values, "input_dir")
    found = planning.Options(
        input_dir=input_dir,
        image_dir=values.image_dir or input_dir,
        output_dir=_folder(values, "output_dir"),
        format=values.format,
        coordinates=values.coordinates,
        classes=_classes(values.classes),
        class_map=tuple(values.class_map),
        choice=choice_flags.parse_split(values),
        selection=choice_flags.parse_selection(values),
        max_rejects=values.max_rejects,
        allow_empty_classes=values.allow_empty_classes,
        num_workers=values.num_workers or len(os.sched_getaffinity(0)),
        overwrite=values.overwrite,
        max_pixels=values.max_pixels,
        image_size=writing.image_size,
        resize=writing.resize,
        image_format=writing.image_format,
        jpeg_quality=writing.jpeg_quality,
        num_shards=writing.num_shards,
        formats=writing.formats,
        engine=writing.engine,
        beam_args=writing.beam_args,
        given=command.given(values),
    )
    _check_folders(found)
    return found


def _classes(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    classes = tuple(name.strip() for name in text.split(","))
    label_map.check_classes(classes)
    return classes


def _folder(values: flags.FlagValues, name: str) -> str:
    value = values[name].value
    if not value:
        raise command.UserError(
            command.ExitCode.USAGE, f"--{name} is missing: {values[name].help}."
        )
    return str(value)


def _check_folders(options: planning.Options) -> None:
    for name in ("input_dir", "image_dir"):
        path = getattr(options, name)
        if not storage.is_folder(path):
            raise command.UserError(
                command.ExitCode.USAGE, f"--{name}={path} is not a folder."
            )
        if storage.absolute(path) == storage.absolute(options.output_dir):
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--{name} and --output_dir are both {path}. Choose another"
                " folder for the output: train.json and the like would be"
                " taken for annotations.",
            )
