"""Hyper-parameters: what can be set, with names, types, ranges and presets.

    config = hparams.get_config("efficientdet-d0")
    config = hparams.override.override(config, "learning_rate=0.04")

Only the standard library is imported.
"""

from hparams import config, leaf, presets

Config = config.Config
HParamError = leaf.HParamError
get_config = presets.get_config
