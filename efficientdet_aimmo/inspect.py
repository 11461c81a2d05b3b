r"""Says what a network holds, computes and needs, before it is trained.

  python -m efficientdet_aimmo.inspect efficientdet-d0 --image_size=960x512

Parameters and multiply-adds by part, anchors by level, output shapes, and an
estimate of the memory. No data and no GPU is needed.
"""

from __future__ import annotations

import sys

from absl import flags

from efficientdet_aimmo import hparams_file
from hparams import config as config_lib
from hparams import official, override, presets
from tfrecord_tools import command

FLAGS = flags.FlagValues()

# Of COCO, with which the published figures were counted.
_PUBLISHED_CLASSES = 90

flags.DEFINE_string(
    "model_name",
    None,
    "the network: efficientdet-d0 to d7, d7x, lite0 to lite4, lite3x; may"
    " stand without the flag's name",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "image_size",
    None,
    "WIDTHxHEIGHT of the network input in pixels; without it the published one",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "num_classes",
    None,
    f"background not counted; without it {_PUBLISHED_CLASSES}, as published",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "batch_size",
    None,
    "images at once, for the estimate of memory; without it the"
    " hyper-parameters train_batch_size and eval_batch_size",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "hparams",
    "",
    "FILE.yaml, or name=value,name=value; see docs/hyper-parameters.md",
    flag_values=FLAGS,
)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)

# Which hyper-parameters a flag sets.
_LEAVES = {
    "image_size": ("image_size",),
    "num_classes": ("num_classes",),
    "batch_size": ("train_batch_size", "eval_batch_size"),
}


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def _value(config: config_lib.Config, name: str) -> object:
    return getattr(getattr(config, config_lib.LEAVES[name].section), name)


def _resolve(values: flags.FlagValues) -> tuple[config_lib.Config, str]:
    """Returns the configuration, and where its number of classes comes from.

    Preset of the model, then --hparams, then the flags; a value given by both
    must be the same.
    """
    preset = presets.get_config(values.model_name)
    given, names = official.split_label_map(
        hparams_file.parse_hparams(values.hparams)
    )
    from_hparams = config = override.override(preset, given)
    for flag, leaves in _LEAVES.items():
        if values[flag].value is None:
            continue
        config = override.override(
            config, dict.fromkeys(leaves, values[flag].value)
        )
        for leaf in leaves:
            before = _value(from_hparams, leaf)
            if before not in (_value(preset, leaf), _value(config, leaf)):
                raise _usage(
                    f"--{flag}={values[flag].value}, but --hparams says"
                    f" {leaf}={before}. Give one of them."
                )
    num_classes = config.model.num_classes
    if names is not None and num_classes not in (0, len(names)):
        raise _usage(
            f"label_map has {len(names)} names, but num_classes is"
            f" {num_classes}. Give one of them."
        )
    if num_classes:
        return config, "as given"
    if values.num_classes is not None:
        raise _usage("--num_classes=0, expected a number from 1 on.")
    number, source = _PUBLISHED_CLASSES, "as published"
    if names is not None:
        number, source = len(names), "of label_map"
    return override.override(config, {"num_classes": number}), source


def main(values: flags.FlagValues) -> None:
    """Inspects."""
    if values.model_name is None:
        raise _usage(
            "Which network? Give its name, as in 'efficientdet_aimmo.inspect"
            f" efficientdet-d0'. Known are: {', '.join(presets.MODEL_NAMES)}."
        )
    try:
        config, classes_from = _resolve(values)
    except config_lib.HParamError as error:
        raise _usage(str(error)) from error
    from efficientdet_aimmo import inspection

    found = inspection.inspect(values.model_name, config, classes_from)
    report = inspection.to_json if values.json else inspection.text
    print(report(found))


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "", positional="model_name")


if __name__ == "__main__":
    sys.exit(entry())
