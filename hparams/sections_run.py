"""Sections that say how a run goes: optimizer, course, NMS, evaluation.

A leaf's help, range and choices stand beside its default and nowhere else.
"""

from __future__ import annotations

import dataclasses
import re

from hparams import leaf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(leaf.Section):
    """How weights move."""

    optimizer: str = leaf.leaf(
        "sgd", "Update rule.", choices=("sgd", "adam", "lamb")
    )
    momentum: float = leaf.leaf(
        0.9, "Momentum of sgd.", at_least=0.0, at_most=1.0
    )
    adam_beta_1: float = leaf.leaf(
        0.9,
        "Decay of adam's and lamb's first moment.",
        at_least=0.0,
        at_most=1.0,
    )
    adam_beta_2: float = leaf.leaf(
        0.999,
        "Decay of adam's and lamb's second moment.",
        at_least=0.0,
        at_most=1.0,
    )
    adam_epsilon: float = leaf.leaf(
        1e-7, "Added to adam's and lamb's denominator.", above=0.0
    )
    learning_rate: float = leaf.leaf(
        0.08, "Rate per learning_rate_batch images.", at_least=0.0
    )
    learning_rate_batch: int = leaf.leaf(
        64,
        "The rates are multiplied by batch / this; 0 takes them as given.",
        at_least=0,
    )
    lr_warmup_init: float = leaf.leaf(
        0.008, "Rate at step 0, same rule.", at_least=0.0
    )
    lr_warmup_epoch: float = leaf.leaf(
        1.0, "Epochs of linear warm-up.", at_least=0.0
    )
    lr_decay_method: str = leaf.leaf(
        "cosine",
        "How the rate falls after warm-up.",
        choices=("cosine", "stepwise", "polynomial", "constant"),
    )
    first_lr_drop_epoch: float = leaf.leaf(
        200.0, "stepwise: epoch of the first fall to a tenth.", at_least=0.0
    )
    second_lr_drop_epoch: float = leaf.leaf(
        250.0, "stepwise: epoch of the second fall to a tenth.", at_least=0.0
    )
    poly_lr_power: float = leaf.leaf(0.9, "polynomial: exponent.", above=0.0)
    clip_gradients_norm: float = leaf.leaf(
        10.0, "Greatest global gradient norm; 0 does not clip.", at_least=0.0
    )
    moving_average_decay: float = leaf.leaf(
        0.9998,
        "Decay of the moving average of weights and batch-norm statistics; 0:"
        " none.",
        at_least=0.0,
        at_most=1.0,
    )

    def _check(self) -> None:
        if self.lr_decay_method == "stepwise":
            leaf.check_order(
                self, "first_lr_drop_epoch", "second_lr_drop_epoch"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(leaf.Section):
    """The course of a training run."""

    train_batch_size: int = leaf.leaf(64, "Images per step.", at_least=1)
    accumulate_steps: int = leaf.leaf(
        1,
        "Parts in which a batch passes the network, one after the other, with"
        " one update at the end; train_batch_size is the whole.",
        at_least=1,
    )
    precision: str = leaf.leaf(
        "float32",
        "What the network computes in while it is trained; weights, statistics,"
        " outputs, losses and updates are float32. auto: float16 where all GPUs"
        " have compute capability 7.0 or more, else float32.",
        choices=("float32", "float16", "bfloat16", "auto"),
    )
    loss_scale_start: float = leaf.leaf(
        2.0**15,
        "float16: what the loss is multiplied by at first; halved by a step"
        " whose gradient overflows.",
        at_least=1.0,
        at_most=2.0**40,
    )
    loss_scale_steps: int = leaf.leaf(
        2000,
        "float16: finite steps in a row after which the scale is doubled.",
        at_least=1,
    )
    loss_scale_floor: float = leaf.leaf(
        1.0,
        "float16: the least scale; a step that is not finite at it is refused.",
        at_least=1.0,
        at_most=2.0**15,
    )
    num_epochs: int = leaf.leaf(
        300, "Passes over the training images.", at_least=1
    )
    seed: int = leaf.leaf(0, "Start of everything random.", at_least=0)
    var_freeze_expr: str = leaf.leaf(
        "",
        "Variables that are not trained: a regular expression that their names"
        " begin with; moving statistics that it names stand still.",
    )
    freeze_epochs: float = leaf.leaf(
        0.0,
        "Epochs after which what var_freeze_expr names is trained too; 0:"
        " never.",
        at_least=0.0,
    )

    def _check(self) -> None:
        try:
            re.compile(self.var_freeze_expr)
        except re.error as error:
            raise leaf.HParamError(
                f"Hyper-parameter 'var_freeze_expr' is"
                f" {self.var_freeze_expr!r}, expected a regular expression"
                f" ({error})."
            ) from None
        leaf.check_order(self, "loss_scale_floor", "loss_scale_start")
        if self.freeze_epochs and not self.var_freeze_expr:
            raise leaf.HParamError(
                f"Hyper-parameter 'freeze_epochs' is {self.freeze_epochs}, but"
                " 'var_freeze_expr' names no variables: nothing is frozen."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nms(leaf.Section):
    """From network outputs to detections."""

    method: str = leaf.leaf(
        "gaussian",
        "gaussian: soft-NMS, scores decay; hard: overlapping boxes go.",
        choices=("gaussian", "hard"),
    )
    iou_thresh: float = leaf.leaf(
        0.5, "hard: overlap from which a box goes.", above=0.0, at_most=1.0
    )
    sigma: float = leaf.leaf(0.5, "gaussian: width of the decay.", above=0.0)
    score_thresh: float = leaf.leaf(
        0.001,
        "Detections below this score are dropped.",
        at_least=0.0,
        at_most=1.0,
    )
    max_nms_inputs: int = leaf.leaf(
        5000, "Best-scored candidates that enter NMS; 0: all.", at_least=0
    )
    max_output_size: int = leaf.leaf(
        100, "Most detections per image.", at_least=1
    )
    per_class: bool = leaf.leaf(
        True,
        "true: every class of an anchor is a candidate and NMS runs within a"
        " class; false: an anchor's best class only, NMS over all classes"
        " together.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(leaf.Section):
    """When and how the model is measured."""

    eval_batch_size: int = leaf.leaf(
        1, "Images per evaluation step.", at_least=1
    )
    map_freq: int = leaf.leaf(
        5,
        "Epochs between evaluations; the last epoch always has one.",
        at_least=1,
    )
    num_pictures: int = leaf.leaf(
        8,
        "Pictures of ground truth beside detections per evaluation.",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime(leaf.Section):
    """What changes how a run goes, not what it computes."""

    save_checkpoints_steps: int = leaf.leaf(
        1000,
        "Steps between checkpoints; every evaluation has one before it.",
        at_least=1,
    )
    keep_checkpoints: int = leaf.leaf(3, "Checkpoints kept.", at_least=1)
    on_nan: str = leaf.leaf(
        "stop",
        "A step whose loss or gradient is not finite is refused; then the run"
        " stops, or skips it.",
        choices=("stop", "skip"),
    )
    max_skipped_steps: int = leaf.leaf(
        10, "skip: the run stops at one more refused step.", at_least=0
    )
    strategy: str = leaf.leaf(
        "",
        "Devices of a run; '': one, gpus: all of this machine, multi-gpus:"
        " those of several workers, tpu: a TPU. Batch sizes are of all"
        " devices.",
        choices=("", "gpus", "multi-gpus", "tpu"),
    )
    virtual_devices: int = leaf.leaf(
        0,
        "CPU devices that stand in for GPUs with strategy gpus or multi-gpus,"
        " to try a run out where there is none; 0: real GPUs.",
        at_least=0,
    )
    wait_for_workers: int = leaf.leaf(
        600,
        "Seconds that a worker of multi-gpus waits at the start for the others;"
        " after that it stops with 75.",
        at_least=1,
    )
    bad_records: str = leaf.leaf(
        "fail",
        "A training record that cannot be read, parsed or decoded ends the run,"
        " or is skipped: a copy of another image of its batch has its place. A"
        " validation record always ends it: measures would be of other images.",
        choices=("fail", "skip"),
    )
    bad_records_max_share: float = leaf.leaf(
        0.01,
        "skip: the run ends when more of the images drawn, of one epoch at"
        " least, are bad.",
        at_least=0.0,
        at_most=1.0,
    )
    log_steps: int = leaf.leaf(
        20, "Steps between lines of the log.", at_least=1
    )
    num_threads: int = leaf.leaf(
        0, "CPU threads of one operation; 0: all cores.", at_least=0
    )
    preemption_notice: str = leaf.leaf(
        "auto",
        "auto: on Google Compute Engine, and where the environment has"
        " GCE_METADATA_HOST, the notice of preemption stops the run as SIGTERM"
        " does; off: nobody is asked.",
        choices=("auto", "off"),
    )
    grad_checkpoint: bool = leaf.leaf(
        False,
        "Activations are computed again in the backward pass, not kept: about"
        " half the memory for a third more time.",
    )
    use_xla: bool = leaf.leaf(
        False,
        "XLA compiles forward pass, loss and gradients of a training step as"
        " one program, for GPUs; on a CPU it was measured slower. Not with"
        " grad_checkpoint, nor where batch norm is synchronised. A TPU's steps"
        " always are.",
    )
