"""What a run says of itself before its first step."""

from __future__ import annotations

import textwrap

from efficientdet_aimmo import devices
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import model_dir, stopping
from efficientdet_aimmo.training import schedule as schedule_lib
from hparams import config as config_lib
from hparams import presets, serialize

_WIDTH = 100  # columns of the table


def text(
    config: config_lib.Config,
    model_name: str,
    train: source_lib.Source,
    val: source_lib.Source | None,
    spread: replicas.Distribution,
    host: str | None,
    why_precision: str,
) -> str:
    """Returns the table of the start: settings, rates, data, devices.

    Args:
      config: what is in force.
      model_name: the preset that it is compared with.
      train: the training records.
      val: the validation records, or None.
      spread: the devices.
      host: who is asked for preemption notices, or None.
      why_precision: why the precision is what it is.
    """
    course = schedule_lib.Course(
        train.counts.images,
        config.train.train_batch_size,
        config.train.num_epochs,
    )
    schedule = schedule_lib.Schedule(config.optimizer, course)
    rates = config.optimizer
    rule = _rule(rates, course.batch_size)
    rows = [
        (
            "learning_rate",
            f"given {rates.learning_rate:g}, {rule}, in force"
            f" {schedule.peak:g}",
        ),
        (
            "lr_warmup_init",
            f"given {rates.lr_warmup_init:g}, {rule}, in force"
            f" {schedule.start:g}",
        ),
        (
            "warm-up",
            f"{schedule.warmup_steps:g} of {course.num_steps} steps"
            f" ({course.steps_per_epoch:g} per epoch)",
        ),
        (
            "steps",
            f"{course.num_steps}: {course.num_epochs} epochs of"
            f" {course.num_images} images",
        ),
        ("classes", ", ".join(train.classes)),
        *((s.split, _objects(s)) for s in (train, val) if s is not None),
        ("batch", _batch(config, spread)),
        ("batch norm", _batch_norm(config, spread)),
        ("precision", f"{config.train.precision} ({why_precision})"),
        ("device", devices.describe(spread.num_replicas)),
        ("stops on", stopping.describe(host)),
        ("may change", f"{', '.join(model_dir.FREE)}; all else is fixed"),
    ]
    return "\n".join(
        [
            f"Settings (* differs from the preset {model_name}):",
            serialize.describe(config, presets.get_config(model_name)),
            "",
            *(_row(name, value) for name, value in rows),
        ]
    )


def _row(name: str, value: str) -> str:
    """Returns a row; a long one goes on below, under its beginning."""
    return textwrap.fill(
        value,
        _WIDTH,
        initial_indent=f"{name:<15} ",
        subsequent_indent=" " * 16,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rule(rates: config_lib.Optimizer, batch_size: int) -> str:
    if not rates.learning_rate_batch:
        return "as given"
    return (
        f"x {batch_size} images per step / {rates.learning_rate_batch}"
        " (learning_rate_batch)"
    )


def _objects(source: source_lib.Source) -> str:
    objects = ", ".join(
        f"{name} {count}" for name, count in source.counts.objects.items()
    )
    return f"{source.counts.images} images; objects: {objects}"


def _batch(config: config_lib.Config, spread: replicas.Distribution) -> str:
    batch, parts = config.train.train_batch_size, config.train.accumulate_steps
    count = spread.num_replicas
    told = f"{batch} images a step"
    if count > 1:
        told += f", {batch // count} on each of {count} replicas"
    if spread.num_workers > 1:
        told += (
            f" (worker {spread.worker} of {spread.num_workers},"
            f" {count // spread.num_workers} here)"
        )
    if parts > 1:
        told += f", in {parts} parts of {batch // count // parts}"
    return told


def _batch_norm(
    config: config_lib.Config, spread: replicas.Distribution
) -> str:
    parts = spread.num_replicas * config.train.accumulate_steps
    rows = config.train.train_batch_size // parts
    if spread.num_replicas == 1:
        return f"statistics over {rows} images"
    least = config.model.sync_batch_norm_below
    if rows < least:
        return (
            f"synchronised: statistics over {rows * spread.num_replicas}"
            f" images, as a replica has {rows} at once, fewer than {least}"
            " (sync_batch_norm_below)"
        )
    return (
        f"each replica its own: statistics over {rows} images, not fewer than"
        f" {least} (sync_batch_norm_below)"
    )
