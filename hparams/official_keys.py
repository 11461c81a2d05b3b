"""Every hyper-parameter of the official EfficientDet, and what becomes of it.

A key either means the same here, or is accepted only at the value that says
what is done here, or is refused with one line that says what to use instead.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from hparams import convert

# Official keys that are hyper-parameters of the same name and meaning, each
# with what is worth knowing, '' where there is nothing.
SAME: Mapping[str, str] = {
    "act_type": "",
    "strategy": "Not set (null) leaves the preset's: one device.",
    "image_size": "As text WIDTHxHEIGHT, as a list [height, width].",
    "input_rand_hflip": "",
    "jitter_min": "",
    "jitter_max": "",
    "map_freq": "",
    "num_classes": "The highest class id: background is not counted.",
    "skip_crowd_during_training": "",
    "max_instances_per_image": (
        "No image is cut to a fixed number of boxes: leave it out, or give the"
        " data set's own number."
    ),
    "min_level": "",
    "max_level": "",
    "num_scales": "",
    "aspect_ratios": "Numbers, pairs [x, y], or both.",
    "anchor_scale": "One number, or a list of one for each level.",
    "momentum": "",
    "optimizer": "",
    "learning_rate": "",
    "lr_warmup_init": "Scaled by learning_rate_batch like learning_rate.",
    "lr_warmup_epoch": "",
    "first_lr_drop_epoch": "",
    "second_lr_drop_epoch": "",
    "poly_lr_power": "",
    "clip_gradients_norm": "The global norm, clipped once.",
    "num_epochs": "",
    "mean_rgb": "One number stands for all three channels.",
    "stddev_rgb": "One number stands for all three channels.",
    "label_smoothing": "",
    "alpha": "",
    "gamma": "",
    "delta": "",
    "box_loss_weight": "",
    "iou_loss_type": "Not set (null) is none.",
    "iou_loss_weight": "",
    "weight_decay": "",
    "box_class_repeats": "",
    "fpn_cell_repeats": "",
    "fpn_num_filters": "",
    "fpn_weight_method": "Not set (null) leaves the preset's.",
    "survival_prob": "Not set (null) leaves the preset's.",
    "lr_decay_method": "",
    "grad_checkpoint": "Blocks, BiFPN cells and heads; gradients are the same.",
    "moving_average_decay": "Batch-norm statistics are averaged too.",
    "backbone_name": "",
    "var_freeze_expr": (
        "Matched from the start of the variable's name; frozen layers'"
        " statistics stand still."
    ),
    "nms_configs.method": "",
    "nms_configs.iou_thresh": "Not set (null) leaves the preset's.",
    "nms_configs.sigma": "Not set (null) leaves the preset's.",
    "nms_configs.score_thresh": (
        "0 is refused: officially it means 0.001 for gaussian and no threshold"
        " for hard. Write nms_configs.score_thresh=0.001, or"
        " nms.score_thresh=0 for none."
    ),
    "nms_configs.max_nms_inputs": (
        "0 is refused: officially it takes each anchor's best class. Leave it"
        " out, or write nms.max_nms_inputs=0 for all candidates."
    ),
    "nms_configs.max_output_size": "",
}

# Keys whose official default is "not set" and that have a value here.
MAY_BE_UNSET = (
    "fpn_weight_method",
    "survival_prob",
    "iou_loss_type",
    "var_freeze_expr",
    "strategy",
    "nms_configs.iou_thresh",
    "nms_configs.sigma",
)
NOT_ZERO = ("nms_configs.score_thresh", "nms_configs.max_nms_inputs")


class Fixed(typing.NamedTuple):
    """A key accepted at one value only: the one that says what is done."""

    value: object  # None: not set
    instead: str

    def accepts(self, given: object) -> bool:
        """Returns whether given, which may be text, is that value."""
        if self.value is None:
            return convert.is_nothing(given)
        hint: Any = type(self.value)
        if hint is tuple:
            hint = tuple[str, ...]
        try:
            return convert.value(given, hint) == self.value
        except TypeError:
            return False

    def shown(self) -> str:
        """Returns the value as it is written in YAML."""
        if self.value is None:
            return "null"
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if isinstance(self.value, tuple):
            return f"[{', '.join(self.value)}]"
        return str(self.value)


FIXED: Mapping[str, Fixed] = {
    "target_size": Fixed(None, "The network's input size is image_size."),
    "autoaugment_policy": Fixed(
        None,
        "Use input_rand_hflip, jitter_min, jitter_max, colour_jitter.",
    ),
    "grid_mask": Fixed(
        False,
        "Use input_rand_hflip, jitter_min, jitter_max, colour_jitter.",
    ),
    "sample_image": Fixed(
        None, "num_pictures validation images are drawn at every evaluation."
    ),
    "seg_num_classes": Fixed(3, "There is no segmentation head."),
    "heads": Fixed(("object_detection",), "There is no segmentation head."),
    "regenerate_source_id": Fixed(
        False, "The records' source_id is the image id of the val JSON file."
    ),
    "is_training_bn": Fixed(
        True, "Batch norm learns in training and is fixed in evaluation."
    ),
    "data_format": Fixed("channels_last", "Arrays are [B, H, W, C]."),
    "scale_range": Fixed(
        False,
        "Pixels are scaled by mean_rgb and stddev_rgb; 127.5 for both gives -1"
        " to 1.",
    ),
    "mixed_precision": Fixed(
        False, "Use precision=float16 on GPUs, precision=bfloat16 on TPUs."
    ),
    "loss_scale": Fixed(
        None,
        "With precision=float16 it moves by itself; use loss_scale_start,"
        " loss_scale_steps, loss_scale_floor.",
    ),
    "separable_conv": Fixed(
        True, "BiFPN and heads use separable convolutions."
    ),
    "apply_bn_for_resampling": Fixed(
        True, "Resampled features pass batch norm."
    ),
    "conv_after_downsample": Fixed(
        False, "The 1x1 convolution comes before downsampling."
    ),
    "conv_bn_act_pattern": Fixed(
        False, "The activation comes before the convolution."
    ),
    "drop_remainder": Fixed(True, "All training batches have the same size."),
    "nms_configs.pyfunc": Fixed(False, "NMS is part of the graph."),
    "tflite_max_detections": Fixed(
        100, "The most detections per image are max_output_size."
    ),
    "fpn_name": Fixed(None, "The BiFPN's fusion is fpn_weight_method."),
    "fpn_config": Fixed(
        None, "The BiFPN is set by min_level, max_level, fpn_weight_method."
    ),
    "img_summary_steps": Fixed(
        None, "num_pictures validation images are drawn at every evaluation."
    ),
    "ckpt_var_scope": Fixed(None, "Weights are found by their full names."),
    "skip_mismatch": Fixed(
        False, "Weights of another shape are an error, never left out."
    ),
    "backbone_config": Fixed(None, "The backbone is set by backbone_name."),
    "use_keras_model": Fixed(True, "There is one implementation."),
    "dataset_type": Fixed(
        None, "Records are read as tfrecord_tools.convert writes them."
    ),
    "positives_momentum": Fixed(
        None, "Losses are divided by the batch's own number of positives."
    ),
    "verbose": Fixed(1, "Steps between lines of the log are log_steps."),
    "save_freq": Fixed(
        "epoch",
        "Epochs end with a checkpoint; save_checkpoints_steps sets more.",
    ),
}

# Keys that are never accepted among the hyper-parameters.
REFUSED: Mapping[str, str] = {
    "name": "The network is chosen with --model_name.",
    "label_map": (
        "It names the classes of the data set and is given to the command in"
        " the --hparams file."
    ),
}

# nms_configs is a section of the official file; its keys are listed by name.
KEYS: tuple[str, ...] = (*SAME, *FIXED, *REFUSED)
