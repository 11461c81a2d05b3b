"""What a step will take of memory, estimated before it is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from efficientdet_aimmo import host_memory, memory
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import profile
from efficientdet_aimmo.training import forecast, machine
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tfrecord_tools import command

# Measured for D0, see efficientdet_aimmo.memory: a fifth more than the
# activations for an image, and 500 MiB once.
_WORK_SPACE = 1.2
ONCE = 500 * 2**20
# Batches of images in the host's memory: being filled, waiting, being taken.
_NUM_BATCHES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """What a run takes on this machine, estimated, bytes.

    Attributes:
      on_host: whether the host computes, and not a GPU or TPU.
      images: of a step, that are in one memory at a time.
      gradients: of the whole network, for the replicas in one memory.
      fixed: weights, averages, gradients and what the optimizer keeps.
      per_image: what an image takes in a step.
      evaluation: what an evaluation batch takes.
      inputs: batches of images on the host.
      shuffle_buffer: records on the host that wait to be shuffled.
    """

    on_host: bool
    images: int
    gradients: int
    fixed: int
    per_image: int
    evaluation: int
    inputs: int
    shuffle_buffer: int

    @property
    def host(self) -> int:
        """What the host will have to give once weights and slots are there."""
        return self._once + (self._step if self.on_host else 0)

    @property
    def _once(self) -> int:
        computing = ONCE + self.gradients if self.on_host else 0
        return self.inputs + self.shuffle_buffer + computing

    @property
    def _step(self) -> int:
        return max(self.images * self.per_image, self.evaluation)

    def most_images(self, room: int) -> int:
        """Returns how many images at a time the host might have room for."""
        return max(0, (room - self._once) // self.per_image)


def estimate(config: config_lib.Config, run: run_lib.Run) -> Need:
    """Returns what a run takes on this machine; traces both passes once.

    Args:
      config: of the run.
      run: its records and devices.
    """
    spread = run.spread
    detector = detector_lib.Detector(config)
    graph = profile.trace_inference(detector, config.data.image_size)
    found = memory.estimate(detector, config, graph)
    is_tpu = isinstance(spread.strategy, tf.distribute.TPUStrategy)
    on_host = not is_tpu and not tf.config.list_logical_devices("GPU")
    # The replicas of a worker without a GPU share the host's memory.
    num_here = spread.num_replicas // spread.num_workers if on_host else 1
    parts = config.train.accumulate_steps
    num_images = config.train.train_batch_size // spread.num_replicas * num_here
    gradients = found.gradients * num_here * (1 if parts == 1 else 2)
    height, width = config.data.image_size
    own = spread.share_of(config.train.train_batch_size).num_rows
    evaluated = 0
    if run.val is not None:
        size = config.eval.eval_batch_size // spread.num_replicas * num_here
        evaluated = found.inference_per_image * size
    return Need(
        on_host=on_host,
        images=num_images // parts,
        gradients=gradients,
        fixed=found.weights
        + found.optimizer_slots
        + found.moving_average
        + gradients
        + (found.weights if run.val is not None else 0),
        per_image=round(_WORK_SPACE * found.training_per_image),
        evaluation=round(_WORK_SPACE * evaluated),
        inputs=_NUM_BATCHES * own * height * width * 3 * 4,
        shuffle_buffer=_shuffle_buffer(run.train, config.data),
    )


def _shuffle_buffer(source: source_lib.Source, data: config_lib.Data) -> int:
    if data.shuffle_buffer <= 1:
        return 0
    shards = source.counts.shards
    num_records = sum(shard.records for shard in shards)
    num_bytes = sum(shard.bytes for shard in shards)
    return min(data.shuffle_buffer, num_records) * num_bytes // num_records


def check(
    needed: Need, room: host_memory.Room, config: config_lib.Config
) -> None:
    """Raises UserError if the host's memory does not suffice for a step.

    The system would end the process otherwise, without a word.

    Args:
      needed: by the run.
      room: on the host, with weights and what the optimizer keeps there.
      config: of the run.
    """
    if needed.host <= room.free:
        return
    raise _short(
        f"The host's memory does not suffice: the run takes about"
        f" {forecast.size(needed.host)} more, an estimate, and"
        f" {forecast.size(room.free)} are left (limited by {room.limited_by})."
        f" {_guess(needed, room.free, config)}"
    )


def exhausted(
    error: tf.errors.ResourceExhaustedError | MemoryError,
    gpus: Sequence[machine.Gpu],
    needed: Need,
    room: host_memory.Room,
    config: config_lib.Config,
) -> command.UserError:
    """Returns what to say when memory did not suffice.

    Args:
      error: what failed.
      gpus: those in use, with their peaks.
      needed: by the run, estimated.
      room: on the host before the steps.
      config: of the run.
    """
    what = "the host's memory is full"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        what = _first_line(error)
    step = needed.fixed + needed.images * needed.per_image
    used = ", ".join(
        f"{gpu.name} had {forecast.size(gpu.peak)} of"
        f" {forecast.size(gpu.limit)} in use at its peak"
        for gpu in gpus
    )
    free = room.free
    if gpus:
        free = min(gpu.limit for gpu in gpus)
    else:
        used = f"the host had {forecast.size(room.free)} left before"
    return _short(
        f"Memory does not suffice for {needed.images} images at a time"
        f" ({what}): {used}; a step takes about {forecast.size(step)}, an"
        f" estimate. {_guess(needed, free, config)}"
    )


def _guess(needed: Need, room: int, config: config_lib.Config) -> str:
    batch = config.train.train_batch_size
    once = 0 if needed.on_host else needed.fixed
    most = needed.most_images(room - once)
    largest = most * batch // needed.images
    if largest < 1 or largest >= batch:
        return (
            "Lower --train_batch_size or image_size, or give"
            " grad_checkpoint=true or more --accumulate_steps."
        )
    return (
        f"--train_batch_size={batch} may be about {largest} at most, a guess."
        " Lower it or image_size, or give grad_checkpoint=true or more"
        " --accumulate_steps."
    )


def _short(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DEVICE, message)


def _first_line(error: tf.errors.OpError) -> str:
    lines = [line.strip() for line in str(error.message).splitlines()]
    return next((line for line in lines if "allocat" in line), lines[0])
