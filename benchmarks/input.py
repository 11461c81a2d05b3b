"""Measures the input of training against what it cannot be faster than.

    python -m benchmarks.input

Batches of 512x512 from JPEGs of 1920x1024, mirrored and jittered, are held
against a bare loop that decodes as exactly, resizes and batches; batches from
PNGs against a bare loop that decodes. Small images show what the number of
records and of shards costs. All are measured in turn, several times, and the
medians of the ratios count.
"""

from __future__ import annotations

import concurrent.futures
import functools
import io
import multiprocessing
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import made_images, targets
from tfrecord_tools import command

if TYPE_CHECKING:
    import tensorflow as tf

    from efficientdet_aimmo.benching import made_records

IMAGE_SIZE = (1920, 1024)  # width, height
INPUT_SIZE = 512
SMALL_SIZE = 64
BATCH = 8
NUM_IMAGES = 64
NUM_SHARDS = 4
WARM_UP = 3  # batches

LEAST_JPEG = 0.80
LEAST_PNG = 0.90
LEAST_FLAT = 0.90
MOST_MEMORY = 1.10

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "rounds", 5, "times everything is measured", flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_batches",
    30,
    "batches of JPEGs that a measurement takes; of PNGs a third",
    lower_bound=6,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_records",
    100_000,
    "small records that are held against a hundredth of them",
    lower_bound=100,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "work_dir",
    None,
    "folder for the records; without it the system's temporary folder",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "json", None, "file that the figures are written to", flag_values=FLAGS
)


class Cost(NamedTuple):
    """Milliseconds for an image: on the clock, and of all processors."""

    wall_ms: float
    cpu_ms: float


def _encoded(folder: pathlib.Path, suffix: str) -> list[bytes]:
    """Returns photographs of a camera's size as files of a kind."""
    made = made_images.make(
        folder / suffix, made_images.NUM_UNIQUE, IMAGE_SIZE, suffix
    )
    return [path.read_bytes() for path in sorted(made.glob(f"*.{suffix}"))]


def _small() -> list[bytes]:
    images = []
    for seed in range(made_images.NUM_UNIQUE):
        draw = np.random.default_rng(seed)
        pixels = draw.integers(0, 256, (SMALL_SIZE, SMALL_SIZE, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=75)
        images.append(file.getvalue())
    return images


def _pipeline(shards: made_records.Shards, size: int) -> tf.data.Dataset:
    """Returns the batches of a training run, as its defaults make them."""
    from efficientdet_aimmo.data import pipeline
    from hparams import config, override

    return pipeline.build_train_dataset(
        shards.files,
        override.override(
            config.Config(),
            {
                "image_size": (size, size),
                "train_batch_size": BATCH,
                "num_epochs": 10**6,
            },
        ),
        num_records=shards.num_records,
        max_boxes=8,
        start_step=0,
    )


def _bare(shards: made_records.Shards, resizes: bool) -> tf.data.Dataset:
    """Returns batches of images decoded as exactly, and resized or not."""
    import tensorflow as tf

    from efficientdet_aimmo.data import decode, pipeline

    def image(record: tf.Tensor) -> tf.Tensor:
        pixels = decode.decode_image(pipeline.parse_image(record)[0])
        if resizes:
            return tf.image.resize(pixels, [INPUT_SIZE, INPUT_SIZE])
        return tf.shape(pixels)

    return (
        pipeline.read_records(shards.files, len(shards.files))
        .repeat()
        .map(image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )


def _cost(dataset: tf.data.Dataset, num_batches: int) -> Cost:
    """Returns what an image takes after the first batches."""
    batches = iter(dataset)
    for _ in range(WARM_UP):
        next(batches)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(num_batches):
        next(batches)
    each = 1000 / (num_batches * BATCH)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Cost(each * wall_s, each * cpu_s)


def _compare(
    name: str,
    target: float,
    first: Callable[[], Cost],
    second: Callable[[], Cost],
    *,
    rounds: int,
) -> list[dict[str, Any]]:
    """Measures two in turn; returns rows for the clock and for processors.

    Others on the machine change the first more than the second.
    """
    pairs = []
    for number in range(rounds):
        print(f"{name}: round {number + 1}", file=sys.stderr, flush=True)
        pairs.append((first(), second()))
    rows = []
    for what, place in (("", 0), (", processors", 1)):
        row = targets.row(
            name + what, [a[place] / b[place] for a, b in pairs], target
        )
        middle = [
            statistics.median(pair[side][place] for pair in pairs)
            for side in (0, 1)
        ]
        row["milliseconds"] = middle
        rows.append(row)
    return rows


def _speed(
    folder: pathlib.Path, num_batches: int, rounds: int
) -> list[dict[str, Any]]:
    from efficientdet_aimmo.benching import made_records

    def bare(shards: made_records.Shards, resizes: bool, count: int) -> Cost:
        return _cost(_bare(shards, resizes), count)

    def whole(shards: made_records.Shards, count: int) -> Cost:
        return _cost(_pipeline(shards, INPUT_SIZE), count)

    compare = functools.partial(_compare, rounds=rounds)
    write = functools.partial(made_records.write, count=NUM_IMAGES)
    jpeg, png = _encoded(folder, "jpg"), _encoded(folder, "png")
    of_jpeg = write(folder / "of_jpg", jpeg, num_shards=NUM_SHARDS)
    of_png = write(folder / "of_png", png, num_shards=NUM_SHARDS)
    single = write(folder / "single", jpeg, num_shards=NUM_IMAGES)
    few = num_batches // 3
    jpeg_alone = functools.partial(whole, of_jpeg, num_batches)
    return [
        *compare(
            "JPEG, of decode and resize",
            LEAST_JPEG,
            functools.partial(bare, of_jpeg, True, num_batches),
            jpeg_alone,
        ),
        *compare(
            "PNG, of decode",
            LEAST_PNG,
            functools.partial(bare, of_png, False, few),
            functools.partial(whole, of_png, few),
        ),
        *compare(
            f"{NUM_IMAGES} shards, of {NUM_SHARDS}",
            LEAST_FLAT,
            jpeg_alone,
            functools.partial(whole, single, num_batches),
        ),
    ]


def _alone(shards: made_records.Shards, num_batches: int) -> tuple[Cost, float]:
    """Returns what a small image takes, and the process's most memory in MB."""
    cost = _cost(_pipeline(shards, SMALL_SIZE), num_batches)
    return cost, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process(
    shards: made_records.Shards, num_batches: int
) -> tuple[Cost, float]:
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as executor:
        return executor.submit(_alone, shards, num_batches).result()


def _flatness(
    folder: pathlib.Path, num_records: int, rounds: int
) -> list[dict[str, Any]]:
    from efficientdet_aimmo.benching import made_records

    few = num_records // 100
    sets = {
        count: made_records.write(
            folder / str(count), _small(), count, NUM_SHARDS
        )
        for count in (few, num_records)
    }
    num_batches = 8 * few // BATCH
    memory: dict[int, list[float]] = {count: [] for count in sets}

    def measure(count: int) -> Cost:
        cost, most_mb = _in_a_process(sets[count], num_batches)
        memory[count].append(most_mb)
        return cost

    what = f"{num_records} records, of {few}"
    rows = _compare(
        what,
        LEAST_FLAT,
        functools.partial(measure, few),
        functools.partial(measure, num_records),
        rounds=rounds,
    )
    pairs = zip(memory[few], memory[num_records], strict=True)
    ratios = [many / few for few, many in pairs]
    return [*rows, targets.row(f"memory, {what}", ratios, MOST_MEMORY, False)]


def main(values: flags.FlagValues) -> None:
    """Measures, prints a table, and writes the figures if asked to."""
    with tempfile.TemporaryDirectory(dir=values.work_dir) as name:
        folder = pathlib.Path(name)
        rows = _speed(folder, values.num_batches, values.rounds)
        rows += _flatness(folder, values.num_records, values.rounds)
    targets.show(rows, values.json)


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
