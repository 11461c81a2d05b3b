r"""Trains EfficientDet on records that tfrecord_tools.convert wrote.

  python -m efficientdet_aimmo.train --mode=train_and_eval \
      --train_file_pattern=OUT/train*.tfrecord \
      --val_file_pattern=OUT/val*.tfrecord --val_json_file=OUT/val.json \
      --model_name=efficientdet-d0 --model_dir=MODEL \
      --train_batch_size=8 --num_epochs=50 --hparams=config.yaml

The same command goes on where a run was stopped. TensorBoard:
  tensorboard --logdir=MODEL
"""

from __future__ import annotations

import sys

from absl import flags

from efficientdet_aimmo import cpu_flag, official_flags, uncollected
from efficientdet_aimmo.training import stopping
from hparams import config as config_lib
from tfrecord_tools import command

FLAGS = flags.FlagValues()

flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "train_and_eval", *official_flags.REFUSED_MODES],
    "train alone, or measure on the validation records as well",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "train_file_pattern",
    None,
    "training records, as OUT/train*.tfrecord",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "val_file_pattern",
    None,
    "validation records, for train_and_eval",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "val_json_file",
    None,
    "COCO ground truth of the validation records; without it the one beside"
    " the records",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model_name",
    None,
    "the network: efficientdet-d0 to d7, d7x, lite0 to lite4, lite3x",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model_dir",
    None,
    "folder of the run: checkpoints, figures, events",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "recipe",
    None,
    "settings for a kind of run, under those of --hparams; 'overfit' learns a"
    " few images by heart to prove that everything works",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "hparams",
    "",
    "FILE.yaml, or name=value,name=value; see docs/hyper-parameters.md",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ckpt",
    None,
    "begin with these weights: a name as efficientdet-d0 (the published ones),"
    " a model_dir or checkpoint of this package, a TensorFlow checkpoint, an"
    " .h5 or .pth file; see docs/weights.md",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "backbone_ckpt",
    None,
    "begin with these weights of the backbone alone: a name as efficientnet-b0"
    " (trained on ImageNet), or a path as for --ckpt",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "reuse_head",
    "auto",
    ["auto", "none", "all"],
    "the class head's last layer in --ckpt: auto takes over the classes that"
    " mean the same, none draws it anew, all takes it as it is",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_examples_per_epoch",
    None,
    "training images as you count them; a warning if the records have another"
    " number, which is the one used",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "dry_run",
    False,
    "take 20 steps with the images that have the most objects, say what the run"
    " will take of memory, time and disk, and write nothing",
    flag_values=FLAGS,
)
cpu_flag.define(FLAGS)
flags.DEFINE_string(
    "worker",
    None,
    "--strategy=multi-gpus: HOST:PORT of all workers, commas between them, the"
    " same everywhere; or TF_CONFIG in the environment",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "worker_index",
    None,
    "--strategy=multi-gpus: this one's place in --worker, from 0",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "tpu",
    None,
    "--strategy=tpu: the TPU's name or grpc:// address, 'local' on its machine",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "tpu_zone", None, "--strategy=tpu: the TPU's zone", flag_values=FLAGS
)
flags.DEFINE_string(
    "gcp_project", None, "--strategy=tpu: the TPU's project", flag_values=FLAGS
)
for name, leaf in {
    **official_flags.LEAVES,
    **official_flags.OWN_LEAVES,
}.items():
    flags.DEFINE_string(
        name, None, f"hyper-parameter {leaf}", flag_values=FLAGS
    )
for name, instead in official_flags.REFUSED.items():
    flags.DEFINE_string(
        name, None, f"not used here: {instead}", flag_values=FLAGS
    )


def main(values: flags.FlagValues) -> None:
    """Trains."""
    config, names = official_flags.resolve(values)
    with stopping.leave_at_once():
        _train(config, names, values)


def _train(
    config: config_lib.Config,
    names: tuple[str, ...] | None,
    values: flags.FlagValues,
) -> None:
    with uncollected.uncollected():
        from efficientdet_aimmo.distribution import strategies
        from efficientdet_aimmo.training import start

    start.start(
        config,
        names,
        start.Options(
            mode=values.mode,
            model_name=values.model_name,
            model_dir=values.model_dir,
            train_file_pattern=values.train_file_pattern,
            val_file_pattern=values.val_file_pattern,
            val_json_file=values.val_json_file,
            ckpt=values.ckpt,
            backbone_ckpt=values.backbone_ckpt or None,
            reuse_head=values.reuse_head,
            num_examples_per_epoch=values.num_examples_per_epoch,
            environment=command.environment(),
            machines=strategies.Request(
                worker=values.worker,
                worker_index=values.worker_index,
                tf_config=command.environment().get("TF_CONFIG") or None,
                tpu=values.tpu,
                tpu_zone=values.tpu_zone,
                gcp_project=values.gcp_project,
            ),
            dry_run=values.dry_run,
            allow_cpu=values.allow_cpu,
        ),
    )


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
