r"""Turns weights from elsewhere into a model_dir, and back.

  python -m efficientdet_aimmo.import_weights --ckpt=efficientdet-d0 \
      --model_name=efficientdet-d0 --output_dir=coco-d0
  python -m efficientdet_aimmo.predict --model_dir=coco-d0 --image=photographs \
      --output_dir=predictions

The report says what of the file went where; weights that do not fit are an
error. With --to=official or --to=effdet the weights of a model_dir are written
for other programs. docs/weights.md lists what can be read.
"""

from __future__ import annotations

import sys

from absl import flags

from efficientdet_aimmo import official_flags
from tfrecord_tools import command

FLAGS = flags.FlagValues()

flags.DEFINE_string(
    "ckpt",
    None,
    "the weights: a name as efficientdet-d0, a model_dir or checkpoint of this"
    " package, a TensorFlow checkpoint, an .h5 or .pth file",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model_name",
    None,
    "the network that they are of; a model_dir says it itself",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "hparams",
    "",
    "FILE.yaml, or name=value,name=value: how the network differs from"
    " --model_name's",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "classes",
    None,
    "the classes in the order of their ids; without it those of the file, or"
    " COCO's if it has 90 and does not name them",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "reuse_head",
    "auto",
    ["auto", "none", "all"],
    "the class head's last layer: auto takes over the classes that mean the"
    " same, none draws it anew, all takes it as it is",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "to",
    "model_dir",
    ["model_dir", "official", "effdet"],
    "what is written: a model_dir of this package, an official TF2 checkpoint,"
    " or effdet's state dict (needs PyTorch)",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output_dir",
    None,
    "folder that is written; it must not hold a model yet",
    required=True,
    flag_values=FLAGS,
)


def main(values: flags.FlagValues) -> None:
    """Imports, reports and writes."""
    config, names = None, None
    if values.model_name is not None:
        config, names = official_flags.network(
            values.model_name, values.hparams
        )
    elif values.hparams:
        raise command.UserError(
            command.ExitCode.USAGE,
            "--hparams says how a network differs from --model_name's: give"
            " that too.",
        )
    classes = tuple(values.classes) if values.classes else names
    if names not in (None, classes):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--classes={','.join(values.classes)}, but label_map in --hparams"
            f" says {', '.join(names)}. Give one of them.",
        )
    from efficientdet_aimmo.pretrained import importing

    importing.run(
        importing.Request(
            ckpt=values.ckpt,
            config=config,
            class_names=classes,
            heads=values.reuse_head,
            target=values.to,
            output_dir=values.output_dir,
            environment=command.environment(),
        )
    )


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
