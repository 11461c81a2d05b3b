"""Every hyper-parameter changes something that can be seen.

For each one a witness: the value it is given, what must hold beside it for it
to act, and an observation of the code that reads it, which must come out
different. A read that is replaced by the default makes its witness fail.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

import hparams
from hparams import config as config_lib
from hparams import override, serialize
from tests.hparams import (
    bad_runs,
    compiling,
    notices,
    observations,
    recomputed,
    refusals,
    scales,
    spreads,
    witness_records,
)

Observation = Callable[[config_lib.Config, witness_records.Records], object]

BASE = override.override(
    hparams.get_config("efficientdet-d0"),
    {
        "num_classes": 4,
        "image_size": (64, 64),
        "fpn_num_filters": 8,
        "fpn_cell_repeats": 1,
        "box_class_repeats": 2,
        "train_batch_size": 2,
        "num_epochs": 2,
        "learning_rate_batch": 0,
        "lr_warmup_epoch": 0.0,
        "eval_batch_size": 8,
        "num_pictures": 2,
        "preemption_notice": "off",
    },
)
_FIXED_PLACE = {"jitter_min": 1.0, "jitter_max": 1.0}
_UNMOVED = {**_FIXED_PLACE, "input_rand_hflip": False}
_LONG = {"train_batch_size": 4, "num_epochs": 5}
_WARM = {**_LONG, "lr_warmup_epoch": 1.0}
_STEPWISE = {
    **_LONG,
    "lr_decay_method": "stepwise",
    "first_lr_drop_epoch": 2.0,
    "second_lr_drop_epoch": 3.0,
}
_POLYNOMIAL = {**_LONG, "lr_decay_method": "polynomial"}
# Two steps an epoch, and not much to evaluate.
_RUN = {"train_batch_size": 16, "per_class": False, "max_output_size": 10}
_SPARED = {**_RUN, "bad_records_max_share": 0.1}
_HALF = {"precision": "float16", "loss_scale_start": 16.0}
_SKIPPING = {**_RUN, "bad_records": "skip"}


class Witness(NamedTuple):
    """A value of a hyper-parameter, and what must differ with it."""

    leaf: str
    value: object
    observe: Observation
    beside: Mapping[str, object] = {}
    part: str = ""  # of the observation; '' is all of it


o = observations
WITNESSES = [
    Witness("backbone_name", "efficientnet-lite0", o.variables),
    Witness("num_classes", 3, o.num_outputs),
    Witness("num_classes", 3, o.filled_in),
    Witness("act_type", "relu6", o.outputs),
    Witness("fpn_num_filters", 16, o.variables),
    Witness("fpn_cell_repeats", 2, o.variables),
    Witness("fpn_weight_method", "sum", o.variables),
    Witness("box_class_repeats", 1, o.variables),
    Witness("survival_prob", 0.5, o.outputs_in_training),
    Witness(
        "survival_prob", 0.5, o.outputs_in_training, {"survival_prob": 1.0}
    ),
    Witness("batch_norm_momentum", 0.9, o.statistics),
    Witness("batch_norm_epsilon", 0.01, o.outputs),
    Witness("batch_norm_epsilon", 0.01, o.outputs_in_training),
    Witness("min_level", 4, o.anchors),
    Witness("min_level", 4, o.num_outputs),
    Witness("max_level", 6, o.anchors),
    Witness("max_level", 6, o.num_outputs),
    Witness("num_scales", 2, o.anchors),
    Witness("num_scales", 2, o.num_outputs),
    Witness("aspect_ratios", (1.0, 3.0), o.anchors),
    Witness("aspect_ratios", (1.0, 3.0), o.num_outputs),
    Witness("aspect_ratios", ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)), o.anchors),
    Witness("anchor_scale", 3.0, o.anchors),
    Witness("anchor_scale", (4.0, 4.0, 3.0, 5.0, 4.0), o.anchors),
    Witness("match_iou", 0.3, o.steps),
    Witness("image_size", (64, 96), o.anchors),
    Witness("image_size", (64, 96), o.train_batches),
    Witness("image_size", (64, 96), o.eval_batch),
    Witness("mean_rgb", (127.0, 127.0, 127.0), o.train_batches),
    Witness("mean_rgb", (127.0, 127.0, 127.0), o.eval_batch),
    Witness("stddev_rgb", (128.0, 128.0, 128.0), o.train_batches),
    Witness("stddev_rgb", (128.0, 128.0, 128.0), o.eval_batch),
    Witness("max_instances_per_image", 1, o.filled_in),
    Witness("skip_crowd_during_training", False, o.train_batches),
    Witness("shuffle_buffer", 1, o.image_order),
    Witness("shuffle_buffer", 2, o.image_order),
    Witness("input_rand_hflip", False, o.train_batches, _FIXED_PLACE),
    Witness("jitter_min", 1.0, o.train_batches),
    Witness("jitter_max", 1.0, o.train_batches),
    Witness("colour_jitter", 0.4, o.train_batches, _UNMOVED),
    Witness("colour_jitter", 0.4, o.train_batches, {"colour_jitter": 0.2}),
    Witness("alpha", 0.5, o.steps),
    Witness("gamma", 2.0, o.steps),
    Witness("label_smoothing", 0.1, o.steps),
    Witness("delta", 0.5, o.steps),
    Witness("box_loss_weight", 10.0, o.steps),
    Witness("iou_loss_type", "giou", o.steps),
    Witness("iou_loss_type", "ciou", o.steps, {"iou_loss_type": "diou"}),
    Witness("iou_loss_weight", 3.0, o.steps, {"iou_loss_type": "iou"}),
    Witness("weight_decay", 0.01, o.steps),
    Witness("optimizer", "adam", o.steps),
    Witness("optimizer", "lamb", o.steps, {"optimizer": "adam"}),
    Witness("momentum", 0.5, o.steps),
    *(
        Witness(leaf, value, o.steps, {"optimizer": rule})
        for leaf, value in (
            ("adam_beta_1", 0.5),
            ("adam_beta_2", 0.9),
            ("adam_epsilon", 0.1),
        )
        for rule in ("adam", "lamb")
    ),
    Witness("learning_rate", 0.01, o.rates, _LONG),
    Witness("learning_rate", 0.01, o.steps),
    Witness("learning_rate_batch", 64, o.rates, _LONG),
    Witness("lr_warmup_init", 0.001, o.rates, _WARM),
    Witness("lr_warmup_epoch", 2.0, o.rates, _LONG),
    Witness("lr_decay_method", "stepwise", o.rates, _LONG),
    Witness("lr_decay_method", "polynomial", o.rates, _LONG),
    Witness("lr_decay_method", "constant", o.rates, _LONG),
    Witness("first_lr_drop_epoch", 1.0, o.rates, _STEPWISE),
    Witness("second_lr_drop_epoch", 4.0, o.rates, _STEPWISE),
    Witness("poly_lr_power", 2.0, o.rates, _POLYNOMIAL),
    Witness("clip_gradients_norm", 0.1, o.steps),
    Witness("clip_gradients_norm", 0.0, o.steps, {"clip_gradients_norm": 0.1}),
    Witness("moving_average_decay", 0.0, o.steps),
    Witness("moving_average_decay", 0.05, o.steps),
    Witness("train_batch_size", 3, o.train_batches),
    Witness("train_batch_size", 8, o.run, _RUN, "last_step"),
    Witness("num_epochs", 3, o.run, _RUN, "last_step"),
    Witness("var_freeze_expr", "tiny/kernel", o.steps),
    # An epoch has four steps: thawed after the first of the two.
    Witness("freeze_epochs", 0.25, o.steps, {"var_freeze_expr": "tiny/k"}),
    # Draws of weights, order, augmentation and stochastic depth, each alone.
    Witness("seed", 1, o.first_weights),
    Witness("seed", 1, o.image_order),
    Witness("seed", 1, o.train_batches, {"shuffle_buffer": 1}),
    Witness("seed", 1, o.steps),
    Witness("method", "hard", o.detections),
    Witness("iou_thresh", 0.1, o.detections, {"method": "hard"}),
    Witness("sigma", 0.1, o.detections),
    Witness("score_thresh", 0.6, o.detections),
    Witness("max_nms_inputs", 20, o.detections),
    Witness("max_output_size", 7, o.detections),
    Witness("per_class", False, o.detections),
    Witness("eval_batch_size", 16, o.run, _RUN, "eval_batch_sizes"),
    Witness("map_freq", 1, o.run, _RUN, "evaluated"),
    Witness("num_pictures", 1, o.run, _RUN, "pictures"),
    Witness("save_checkpoints_steps", 3, o.run, _RUN, "saved"),
    Witness(
        "keep_checkpoints",
        1,
        o.run,
        {**_RUN, "save_checkpoints_steps": 3},
        "saved",
    ),
    Witness("on_nan", "skip", refusals.refusals, _RUN),
    Witness(
        "max_skipped_steps", 2, refusals.refusals, {**_RUN, "on_nan": "skip"}
    ),
    Witness("bad_records", "skip", bad_runs.bad_records, _SPARED),
    Witness("bad_records_max_share", 0.1, bad_runs.bad_records, _SKIPPING),
    Witness("log_steps", 3, o.run, _RUN, "logged"),
    Witness("log_steps", 3, o.run, _RUN, "points"),
    Witness("num_threads", 3, o.threads),
    Witness("strategy", "gpus", spreads.spread),
    Witness("virtual_devices", 2, spreads.spread, {"strategy": "gpus"}),
    Witness("wait_for_workers", 7, spreads.spread, {"strategy": "multi-gpus"}),
    Witness("accumulate_steps", 2, o.steps),
    Witness("precision", "float16", scales.scales),
    Witness("precision", "bfloat16", o.outputs_in_training),
    Witness("precision", "auto", scales.resolved),
    Witness("loss_scale_start", 8.0, scales.scales, _HALF),
    Witness("loss_scale_steps", 2, scales.scales, _HALF),
    Witness("loss_scale_floor", 4.0, scales.scales, _HALF),
    Witness("sync_batch_norm_below", 0, spreads.norms),
    Witness("preemption_notice", "auto", notices.notices),
    Witness("grad_checkpoint", True, recomputed.kept_bytes),
    Witness("use_xla", True, compiling.compiled_parts),
]
OBSERVATIONS = sorted({w.observe for w in WITNESSES}, key=lambda f: f.__name__)


class Observer:
    """Observes a configuration once."""

    def __init__(self, records: witness_records.Records) -> None:
        self._records = records
        self._seen: dict[tuple[Observation, config_lib.Config], object] = {}

    def afresh(self, what: Observation, config: config_lib.Config) -> object:
        return what(config, self._records)

    def __call__(self, what: Observation, config: config_lib.Config) -> object:
        if (what, config) not in self._seen:
            self._seen[what, config] = self.afresh(what, config)
        return self._seen[what, config]


@pytest.fixture(scope="module")
def observe(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Observer:
    return Observer(
        witness_records.make_records(
            street_records, tmp_path_factory.mktemp("witnesses")
        )
    )


def test_every_hyper_parameter_has_a_witness() -> None:
    assert {w.leaf for w in WITNESSES} == set(config_lib.LEAVES)


def _name(witness: Witness) -> str:
    return "-".join(
        [witness.leaf, str(witness.value), witness.observe.__name__]
    )


@pytest.mark.parametrize("witness", WITNESSES, ids=_name)
def test_a_hyper_parameter_has_an_effect(
    witness: Witness, observe: Observer
) -> None:
    before = override.override(BASE, witness.beside)
    after = override.override(before, {witness.leaf: witness.value})
    changed = [d.name.split(".")[1] for d in serialize.diff(before, after)]
    assert changed == [witness.leaf]
    seen = [observe(witness.observe, config) for config in (before, after)]
    if witness.part:
        seen = [getattr(found, witness.part) for found in seen]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("what", OBSERVATIONS, ids=lambda f: f.__name__)
def test_without_a_change_nothing_differs(
    what: Observation, observe: Observer
) -> None:
    """Otherwise every witness that looks there would see a difference."""
    config = override.override(BASE, _RUN if what is o.run else {})
    assert observe(what, config) == observe.afresh(what, config)
