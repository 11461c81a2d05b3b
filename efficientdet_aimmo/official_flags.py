"""The official EfficientDet's flags: what they set here, or what to use."""

from __future__ import annotations

from absl import flags

from efficientdet_aimmo import hparams_file
from hparams import config as config_lib
from hparams import official, override, presets
from tfrecord_tools import command

# Flags that set a hyper-parameter; their defaults are in hparams.
LEAVES = {
    "train_batch_size": "train_batch_size",
    "eval_batch_size": "eval_batch_size",
    "num_epochs": "num_epochs",
    "save_checkpoints_steps": "save_checkpoints_steps",
    "tf_random_seed": "seed",
    "strategy": "strategy",
    "use_xla": "use_xla",
}
# The same with flags that the official command does not have.
OWN_LEAVES = {
    "on_nan": "on_nan",
    "max_skipped_steps": "max_skipped_steps",
    "preemption_notice": "preemption_notice",
    "accumulate_steps": "accumulate_steps",
    "precision": "precision",
    "bad_records": "bad_records",
    "bad_records_max_share": "bad_records_max_share",
}
_ALL_LEAVES = {**LEAVES, **OWN_LEAVES}

# Flags without a meaning here: what to use instead.
REFUSED = {
    "num_cores": "all cores of the TPU, or all GPUs, are used",
    "num_cores_per_replica": "a replica is one device",
    "use_spatial_partition": "an image stays on one device",
    "input_partition_dims": "an image stays on one device",
    "use_fake_data": "examples/aimmo_street is a small real data set",
    "eval_name": "figures go to MODEL_DIR/eval/STEP.json",
    "eval_samples": "every image of --val_file_pattern counts",
    "eval_after_train": "use --mode=train_and_eval",
    "min_eval_interval": "use the hyper-parameter map_freq (epochs)",
    "eval_timeout": "evaluation is part of the run",
    "iterations_per_loop": "use the hyper-parameter log_steps",
    "run_epoch_in_child_process": "a run goes on where it was stopped",
    "profile": "use TensorBoard's own profiler",
    "testdev_dir": "use python -m efficientdet_aimmo.predict on the images",
}

# Modes without a meaning here, likewise.
REFUSED_MODES = {
    "eval": "use python -m efficientdet_aimmo.evaluate on the finished"
    " --model_dir"
}


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def resolve(
    values: flags.FlagValues,
) -> tuple[config_lib.Config, tuple[str, ...] | None]:
    """Returns the configuration that the flags give, and label_map's names.

    Preset of --model_name, then --recipe, then --hparams and the flags that
    stand for a hyper-parameter; a value given by both must be the same.

    Raises:
      UserError: a flag or mode without a meaning here, or a wrong
        hyper-parameter.
    """
    if values.mode in REFUSED_MODES:
        raise _usage(
            f"--mode={values.mode} does not exist here:"
            f" {REFUSED_MODES[values.mode]}."
        )
    for name, instead in REFUSED.items():
        if values[name].value is not None:
            raise _usage(f"--{name} has no effect here: {instead}.")
    try:
        config = presets.get_config(values.model_name)
        if values.recipe is not None:
            config = presets.apply_recipe(config, values.recipe)
        given = hparams_file.parse_hparams(values.hparams)
        given, names = official.split_label_map(given)
        from_hparams = override.override(config, given)
        from_flags = {
            leaf: values[name].value
            for name, leaf in _ALL_LEAVES.items()
            if values[name].value is not None
        }
        both = override.override(from_hparams, from_flags)
        in_hparams = override.leaf_names(given)
        for flag, leaf in _ALL_LEAVES.items():
            if leaf in from_flags and leaf in in_hparams:
                _check_same(flag, leaf, from_hparams, both)
    except config_lib.HParamError as error:
        raise _usage(str(error)) from error
    return both, names


def network(
    model_name: str, hparams: str
) -> tuple[config_lib.Config, tuple[str, ...] | None]:
    """Returns the configuration of a network without a run.

    Returns:
      The configuration, and label_map's names, None without a label_map.

    Raises:
      UserError: no such network, or a wrong hyper-parameter.
    """
    try:
        given = hparams_file.parse_hparams(hparams)
        given, names = official.split_label_map(given)
        config = presets.get_config(model_name)
        return override.override(config, given), names
    except config_lib.HParamError as error:
        raise _usage(str(error)) from error


def _check_same(
    flag: str, leaf: str, first: config_lib.Config, second: config_lib.Config
) -> None:
    section = config_lib.LEAVES[leaf].section
    in_hparams = getattr(getattr(first, section), leaf)
    in_flag = getattr(getattr(second, section), leaf)
    if in_hparams != in_flag:
        raise _usage(
            f"--{flag}={in_flag}, but --hparams says {leaf}={in_hparams}. Give"
            " one of them."
        )
