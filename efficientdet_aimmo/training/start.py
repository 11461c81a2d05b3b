"""From settings to a run: everything that can be checked before it begins."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping

import tensorflow as tf

from efficientdet_aimmo import precision
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.diagnosis import gate
from efficientdet_aimmo.distribution import strategies
from efficientdet_aimmo.evaluation import evaluator, saved
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.model import activations
from efficientdet_aimmo.pretrained import warm_start as warm_start_lib
from efficientdet_aimmo.training import (
    bad_records,
    compiled,
    dry_run,
    loop,
    machine,
    start_table,
    stopping,
)
from efficientdet_aimmo.training import model_dir as model_dir_lib
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tfrecord_tools import command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked for, beside the configuration.

    Attributes:
      mode: train or train_and_eval.
      model_name: the preset, for the table of what differs from it.
      model_dir: the run's folder.
      train_file_pattern: glob of the training records.
      val_file_pattern: glob of the validation records, or None.
      val_json_file: their COCO ground truth; None for the one beside them.
      ckpt: weights to begin with, a path or a published name, or None.
      backbone_ckpt: the same for the backbone alone.
      reuse_head: what becomes of the class head's last layer in ckpt: auto,
        none or all.
      num_examples_per_epoch: images as the user counts them, or None.
      environment: the process's environment variables.
      machines: what is asked of other machines.
      dry_run: whether only the first steps are taken, and nothing written.
      allow_cpu: whether a run without a GPU is wanted.
    """

    mode: str
    model_name: str
    model_dir: str
    train_file_pattern: str
    val_file_pattern: str | None
    val_json_file: str | None
    ckpt: str | None
    backbone_ckpt: str | None
    reuse_head: str
    num_examples_per_epoch: int | None
    environment: Mapping[str, str]
    machines: strategies.Request
    dry_run: bool
    allow_cpu: bool


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def start(
    config: config_lib.Config,
    label_names: tuple[str, ...] | None,
    options: Options,
) -> None:
    """Checks everything, prints what is in force, and trains or rehearses.

    Args:
      config: as the user gave it; what follows from the data is filled in.
      label_names: class names that the user's label_map gives, or None.
      options: the rest.

    Raises:
      UserError: whatever does not fit; nothing was trained then.
    """
    threads = _set_threads(config.runtime, options.environment)
    strategies.check_flags(config.runtime, options.machines)
    train, val = _open_sources(options, config.runtime)
    config = fill_from_data(config, label_names, train)
    _require_device(config.runtime, options)
    spread = strategies.make(config.runtime, options.machines)
    _check_batch(config, train, val, spread.num_replicas)
    with contextlib.ExitStack() as stack:
        if options.dry_run and spread.is_chief:
            model_dir_lib.check_usable(options.model_dir)
        elif spread.is_chief:
            stack.enter_context(model_dir_lib.in_use(options.model_dir))
        config, why = _resolve_precision(config, options.model_dir)
        changes = model_dir_lib.check_config(options.model_dir, config)
        model_dir_lib.check_data(options.model_dir, train.manifest)
        truth = None if val is None else _open_truth(val, options)
        bad_records.check_records(train, config.runtime)
        if val is not None:
            source_lib.check_records(val)
        warm_start = warm_start_lib.choose(
            options.ckpt,
            options.backbone_ckpt,
            options.reuse_head,
            options.model_dir,
            options.environment,
        )
        host = stopping.notice_host(config.runtime, options.environment, "/")
        print(
            start_table.text(
                config, options.model_name, train, val, spread, host, why
            ),
            flush=True,
        )
        for change in changes:
            print(f"Changed since the last run: {change}", flush=True)
        activations.compile_quietly()
        run = run_lib.Run(
            model_dir=options.model_dir,
            train=train,
            val=val,
            ground_truth=truth,
            warm_start=warm_start,
            threads=threads,
            environment=options.environment,
            spread=spread,
        )
        if options.dry_run:
            dry_run.rehearse(config, run, machine.Machine("/"))
        else:
            loop.train(config, run)


def _require_device(runtime: config_lib.Runtime, options: Options) -> None:
    """Raises UserError if the run would be on the CPU, and nobody said so."""
    if runtime.strategy == "tpu":
        return
    gate.require_gpu(
        allow_cpu=options.allow_cpu, environment=options.environment
    )
    if runtime.virtual_devices and not options.allow_cpu:
        raise _usage(
            f"virtual_devices={runtime.virtual_devices} computes on the CPU,"
            " also beside a GPU. Expected --allow_cpu with it."
        )


def _resolve_precision(
    config: config_lib.Config, model_dir: str
) -> tuple[config_lib.Config, str]:
    begun = model_dir_lib.read_config(model_dir)
    return precision.resolve(
        config,
        None if begun is None else begun.train.precision,
        # On virtual devices no GPU is used.
        [] if config.runtime.virtual_devices else precision.capabilities(),
    )


def _set_threads(
    runtime: config_lib.Runtime, environment: Mapping[str, str]
) -> str:
    """Sets TensorFlow's threads; returns what equal bits depend on."""
    threads = os.cpu_count()
    # All cores is TensorFlow's own choice, and a TensorFlow that computes
    # already, as in a notebook, lets nobody set it.
    if runtime.num_threads:
        threads = runtime.num_threads
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    one_dnn = environment.get("TF_ENABLE_ONEDNN_OPTS", "1")
    one_dnn = "off" if one_dnn == "0" else "on"
    xla = ", XLA" if runtime.use_xla else ""
    return f"{threads} CPU threads, oneDNN {one_dnn}{xla}"


def _open_sources(
    options: Options, runtime: config_lib.Runtime
) -> tuple[source_lib.Source, source_lib.Source | None]:
    train = bad_records.open_source(
        options.train_file_pattern, "train_file_pattern", runtime
    )
    val = None
    if options.mode == "train_and_eval":
        if options.val_file_pattern is None:
            raise _usage(
                "--mode=train_and_eval needs --val_file_pattern, as"
                " OUT/val*.tfrecord. To train without measuring, use"
                " --mode=train."
            )
        val = source_lib.open_source(
            options.val_file_pattern, "val_file_pattern"
        )
    source_lib.check_pair(train, val)
    counted = options.num_examples_per_epoch
    if counted is not None and counted != train.counts.images:
        print(
            f"warning: --num_examples_per_epoch={counted}, the records have"
            f" {train.counts.images} images. An epoch is"
            f" {train.counts.images} images.",
            flush=True,
        )
    return train, val


def _open_truth(
    val: source_lib.Source, options: Options
) -> ground_truth_lib.GroundTruth:
    path = saved.ground_truth_path(val, options.val_json_file)
    truth = ground_truth_lib.load(path)
    evaluator.check_classes(val.classes, truth)
    return truth


def fill_from_data(
    config: config_lib.Config,
    label_names: tuple[str, ...] | None,
    train: source_lib.Source,
) -> config_lib.Config:
    """Returns the configuration with what follows from the data set.

    Raises:
      UserError: a value that was given is not that of the data set.
    """
    names = train.classes
    listed = ", ".join(names)
    if label_names is not None and label_names != names:
        raise _usage(
            f"label_map gives the classes {', '.join(label_names)}; the records"
            f" were written with {listed}. Names and order must be the same;"
            " label_map may be left out."
        )
    given = config.model.num_classes
    if given not in (0, len(names)):
        raise _usage(
            f"num_classes is {given}, the records have {len(names)} classes:"
            f" {listed}. Background is not counted here. num_classes may be"
            " left out: it follows from the records."
        )
    most = train.counts.max_boxes_per_image
    boxes = config.data.max_instances_per_image
    if boxes not in (0, most):
        raise _usage(
            f"max_instances_per_image is {boxes}, the records have up to {most}"
            " objects in an image. It may be left out: no object is dropped."
        )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, num_classes=len(names)),
        data=dataclasses.replace(config.data, max_instances_per_image=most),
    )


def _check_batch(
    config: config_lib.Config,
    train: source_lib.Source,
    val: source_lib.Source | None,
    num_replicas: int,
) -> None:
    batch = config.train.train_batch_size
    if batch > train.counts.images:
        raise _usage(
            f"--train_batch_size={batch} is more than the"
            f" {train.counts.images} training images. Expected at most"
            f" {train.counts.images}."
        )
    parts = num_replicas * config.train.accumulate_steps
    if batch % parts:
        raise _usage(
            f"--train_batch_size={batch} is the whole batch and cannot be"
            f" shared by {num_replicas} replicas in"
            f" {config.train.accumulate_steps} parts (accumulate_steps)."
            f" Expected a multiple of {parts}."
        )
    size = config.eval.eval_batch_size
    if val is not None and size % num_replicas:
        raise _usage(
            f"--eval_batch_size={size} is the whole batch and cannot be shared"
            f" by {num_replicas} replicas. Expected a multiple of"
            f" {num_replicas}."
        )
    for line in compiled.check(config, num_replicas):
        print(line, flush=True)
