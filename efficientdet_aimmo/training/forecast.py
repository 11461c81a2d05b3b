"""What a few steps say of the run that they are the first of."""

from __future__ import annotations

import dataclasses
import math
import statistics

from efficientdet_aimmo.training import monitor

# Steps that are not timed: the first traces and compiles, and TensorFlow tries
# out for a few more how many threads the input needs.
NUM_UNTIMED = 5
HOST = "host"  # the name of the host's memory where it computes
_UNIT = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of one kind, measured and still to come.

    Attributes:
      name: what tells them from others, empty where there are no others.
      num_left: steps of this kind until the run's end.
      seconds: of each measured step, its wait for input included.
      waits: seconds that each of them waited for input.
    """

    name: str
    num_left: int
    seconds: tuple[float, ...]
    waits: tuple[float, ...]

    @property
    def step_s(self) -> float:
        """The median of the steps that count."""
        return statistics.median(self.seconds[NUM_UNTIMED:])

    @property
    def waiting(self) -> float:
        """Share of the time that steps wait for input."""
        counted = self.seconds[NUM_UNTIMED:]
        return sum(self.waits[NUM_UNTIMED:]) / sum(counted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Evaluation batches measured, and evaluations still to come.

    Attributes:
      num_left: evaluations until the run's end.
      num_batches: of one evaluation.
      batch_size: images of a batch.
      seconds: of each measured batch; the first traces and compiles.
    """

    num_left: int
    num_batches: int
    batch_size: int
    seconds: tuple[float, ...]

    @property
    def batch_s(self) -> float:
        """The median of the batches after the first."""
        return statistics.median(self.seconds[1:])

    @property
    def each_s(self) -> float:
        """Seconds of an evaluation, the figures of COCO left out."""
        return self.num_batches * self.batch_s


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory that images are computed in, bytes.

    Attributes:
      name: the device's.
      fixed: what does not grow with the batch.
      training: the peak of the steps.
      evaluation: the peak of the evaluation batches, None without any.
      limit: the most that there may be.
      images: of a step, that are in it at a time.
    """

    name: str
    fixed: int
    training: int
    evaluation: int | None
    limit: int
    images: int

    @property
    def per_image(self) -> float:
        """What an image takes in a step."""
        return (self.training - self.fixed) / self.images

    @property
    def most_images(self) -> int:
        """How many images might fit; 0 where nothing can be said."""
        if self.training <= self.fixed:
            return 0
        return max(0, math.floor((self.limit - self.fixed) / self.per_image))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """Memory of the host, bytes.

    Attributes:
      before: what the process had before the first step.
      peak: the most it ever had.
      free: what is left, at the peak.
      limited_by: what says so.
      shuffle_buffer: what the run takes more, for its shuffle buffer.
    """

    before: int
    peak: int
    free: int
    limited_by: str
    shuffle_buffer: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disk:
    """Room for checkpoints, bytes.

    Attributes:
      checkpoint: of one.
      num_checkpoints: most of them at a time, the best one left out.
      has_best: whether the best one is kept apart.
      taken: by those that are there already.
      free: on the disk; None in an object store.
    """

    checkpoint: int
    num_checkpoints: int
    has_best: bool
    taken: int
    free: int | None

    @property
    def needed(self) -> int:
        """What all of them take."""
        return (self.num_checkpoints + self.has_best) * self.checkpoint

    @property
    def missing(self) -> int:
        """What there is too little."""
        if self.free is None:
            return 0
        return max(0, self.needed - self.taken - self.free)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What the steps say.

    Attributes:
      batch_size: images of a step.
      parts: what the batch size must be a multiple of.
      phases: kinds of steps, in order.
      evaluations: None without evaluations.
      memories: of the devices that compute.
      host: memory of the host.
      disk: room for checkpoints.
    """

    batch_size: int
    parts: int
    phases: tuple[Phase, ...]
    evaluations: Evaluations | None
    memories: tuple[Memory, ...]
    host: Host
    disk: Disk

    @property
    def left_s(self) -> float:
        """Seconds to the end of the run."""
        steps = sum(phase.num_left * phase.step_s for phase in self.phases)
        found = self.evaluations
        return steps + (found.num_left * found.each_s if found else 0.0)

    @property
    def largest_batch(self) -> int:
        """A guess of the largest batch size; 0 where nothing can be said."""
        most = min(
            (
                memory.most_images * self.batch_size // memory.images
                for memory in self.memories
            ),
            default=0,
        )
        return most // self.parts * self.parts


def size(num_bytes: float) -> str:
    """Returns bytes as 3 MiB or 1.5 GiB."""
    if num_bytes >= 1024 * _UNIT:
        return f"{num_bytes / (1024 * _UNIT):.1f} GiB"
    return f"{num_bytes / _UNIT:.0f} MiB"


def text(found: Forecast) -> str:
    """Returns the forecast as a table."""
    rows = [
        *(("speed", _speed(found.batch_size, p)) for p in found.phases),
        ("time to the end", _time(found)),
        *(
            (f"memory {memory.name}", _memory(memory))
            for memory in found.memories
            if memory.name != HOST
        ),
        ("memory host", _host(found.host)),
        ("largest batch", _largest(found)),
        ("disk", _disk(found.disk)),
    ]
    return "\n".join(
        f"{'' if i else name:<15} {line}"
        for name, lines in rows
        for i, line in enumerate(lines)
    )


def _speed(batch_size: int, phase: Phase) -> list[str]:
    return [
        f"{batch_size / phase.step_s:.1f} images/s{_named(phase)}:"
        f" {phase.step_s:.3f} s a step, {phase.waiting:.0%} of it waiting for"
        " input",
        f"(median of steps {NUM_UNTIMED + 1} to {len(phase.seconds)}; the first"
        f" took {phase.seconds[0]:.1f} s, as it is traced and compiled)",
    ]


def _named(phase: Phase) -> str:
    return f" {phase.name}" if phase.name else ""


def _time(found: Forecast) -> list[str]:
    lines = [monitor.duration(found.left_s)]
    for phase in found.phases:
        took = monitor.duration(phase.num_left * phase.step_s)
        lines.append(f"{took}: {phase.num_left} steps{_named(phase)}")
    evaluations = found.evaluations
    if evaluations is not None:
        took = monitor.duration(evaluations.num_left * evaluations.each_s)
        noun = "evaluation" if evaluations.num_left == 1 else "evaluations"
        lines += [
            f"{took}: {evaluations.num_left} {noun} of"
            f" {evaluations.num_batches} batches of {evaluations.batch_size},"
            f" {evaluations.batch_s:.3f} s a batch",
            "(not in it: COCO's figures, and the writing of checkpoints)",
        ]
    return lines


def _memory(memory: Memory) -> list[str]:
    if memory.evaluation is None:
        peaks = f"peak {size(memory.training)} in training"
    else:
        peaks = (
            f"peak {size(memory.training)} in training,"
            f" {size(memory.evaluation)} in evaluation"
        )
    free = memory.limit - max(memory.training, memory.evaluation or 0)
    return [f"{peaks}, {size(free)} of {size(memory.limit)} were free"]


def _host(host: Host) -> list[str]:
    lines = [
        f"peak {size(host.peak)}, {size(host.peak - host.before)} of it since"
        f" the steps began; {size(host.free)} were free (limited by"
        f" {host.limited_by})"
    ]
    if host.shuffle_buffer:
        lines.append(
            f"the run takes {size(host.shuffle_buffer)} more for its"
            " shuffle_buffer"
        )
    return lines


def _largest(found: Forecast) -> list[str]:
    if not found.memories:
        return ["no guess: this device does not tell what memory it uses"]
    memory = min(found.memories, key=lambda m: m.most_images / m.images)
    if memory.most_images == 0:
        return ["no guess: the images took too little memory to tell"]
    at_once = ""
    if memory.images != found.batch_size:
        at_once = f"; {memory.images} of {found.batch_size} are in it at a time"
    return [
        f"about {found.largest_batch}, a guess: of {size(memory.limit)}"
        f" {size(memory.fixed)} go to weights and the like,",
        f"and each image takes {size(memory.per_image)}{at_once}",
    ]


def _disk(disk: Disk) -> list[str]:
    best = " and the best" if disk.has_best else ""
    there = f", {size(disk.taken)} of it there already" if disk.taken else ""
    free = f"{size(disk.free or 0)} are free"
    if disk.free is None:
        free = "whether the object store takes them is not checked"
    return [
        f"{size(disk.needed)} for {disk.num_checkpoints} checkpoints{best},"
        f" {size(disk.checkpoint)} each{there}; {free}"
    ]
