"""Measures conversion against what it cannot be faster than.

    python -m benchmarks.convert

PNG to smaller JPEG is held against a bare loop that decodes, resizes and
encodes in as many processes; JPEG that is kept against copying the files. All
are measured in turn, several times, and the medians of the ratios count. Memory
of 10,000 images is held against that of 1,000.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags
from PIL import Image

from benchmarks import made_images, targets
from tfrecord_tools import command

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE_SIZE = (1920, 1024)  # width, height
STORED_SIZE = (960, 512)
SMALL_SIZE = (320, 192)
POLL_S = 0.1

LEAST_OF_LOOP = 0.85
LEAST_OF_COPY = 0.60
MOST_MEMORY = 1.10

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "num_images",
    160,
    "images of the larger run; the smaller has a quarter",
    lower_bound=8,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "rounds", 3, "times everything is measured", flag_values=FLAGS
)
flags.DEFINE_integer(
    "memory_images",
    10_000,
    "images of the larger run for memory, the smaller has a tenth; 0 leaves"
    " memory out",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "work_dir",
    None,
    "folder on the disk to measure; without it the system's temporary folder",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "json", None, "file that the figures are written to", flag_values=FLAGS
)


def _convert(
    source: pathlib.Path, target: pathlib.Path, num_workers: int, *more: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tfrecord_tools.convert",
            f"--input_dir={source}",
            f"--output_dir={target}",
            f"--num_workers={num_workers}",
            *more,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Cost(NamedTuple):
    """Seconds on the clock, and of all processors together."""

    wall_s: float
    cpu_s: float


@contextlib.contextmanager
def _measured() -> Iterator[list[Cost]]:
    """Appends to the list what the block took, with processes that ended."""
    found: list[Cost] = []
    wall_s, cpu_s = time.perf_counter(), sum(os.times()[:4])
    yield found
    found.append(
        Cost(time.perf_counter() - wall_s, sum(os.times()[:4]) - cpu_s)
    )


def conversion(
    target: pathlib.Path,
    num_workers: int,
    flags_given: Sequence[str],
    source: pathlib.Path,
) -> Cost:
    """Returns what a conversion takes, from start to end."""
    with (
        _measured() as cost,
        _convert(source, target, num_workers, *flags_given) as process,
    ):
        code = process.wait()
    assert code == 0, f"the conversion ended with code {code}"
    shutil.rmtree(target)
    return cost[0]


def _shrink(path: str) -> int:
    """Decodes, resizes and encodes an image; what the bare loop does."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize(
            STORED_SIZE, Image.Resampling.BILINEAR
        )
    file = io.BytesIO()
    small.save(file, "JPEG", quality=95, subsampling="4:4:4")
    return len(file.getvalue())


def _loop(num_workers: int, source: pathlib.Path) -> Cost:
    """Returns what the bare loop takes, the start of its processes too."""
    paths = [str(path) for path in sorted(source.glob("*.png"))]
    with (
        _measured() as cost,
        concurrent.futures.ProcessPoolExecutor(
            num_workers, mp_context=multiprocessing.get_context("spawn")
        ) as executor,
    ):
        list(executor.map(_shrink, paths))
    return cost[0]


def _copy(target: pathlib.Path, source: pathlib.Path) -> Cost:
    """Returns what it takes to copy the files until they are on disk."""
    target.mkdir()
    with _measured() as cost:
        paths = sorted(source.glob("*.jpg"))
        for path in paths:
            shutil.copyfile(path, target / path.name)
        for path in paths:
            descriptor = os.open(target / path.name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    shutil.rmtree(target)
    return cost[0]


def each(
    run: Callable[[pathlib.Path], Cost], sources: Sequence[pathlib.Path]
) -> Cost:
    """Returns what an image takes, without what a start takes.

    Args:
      run: measures one folder.
      sources: folders of images, a quarter of them and all.
    """
    counts = [len(list(source.glob("*.json"))) for source in sources]
    few, all_ = (run(source) for source in sources)
    added = counts[1] - counts[0]
    return Cost(
        (all_.wall_s - few.wall_s) / added, (all_.cpu_s - few.cpu_s) / added
    )


def _family_mb(pid: int) -> float:
    """Returns the resident memory of a process and all below it, in MB."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return 0.0  # it has ended
    resident = [line for line in status.splitlines() if "VmRSS" in line]
    own = float(resident[0].split()[1]) / 1024 if resident else 0.0
    return own + sum(_family_mb(int(child)) for child in children.split())


def _peak_mb(source: pathlib.Path, target: pathlib.Path) -> float:
    """Returns the most memory that a conversion and its workers have held."""
    most = 0.0
    ended = threading.Event()
    flag = f"--image_size={SMALL_SIZE[0] // 2}x{SMALL_SIZE[1] // 2}"
    with _convert(source, target, 2, flag) as process:
        while process.poll() is None:
            most = max(most, _family_mb(process.pid))
            ended.wait(POLL_S)
    assert process.returncode == 0
    shutil.rmtree(target)
    return most


def _speed(folder: pathlib.Path, num_images: int, rounds: int) -> list[Any]:
    """Measures speed in turn; returns the rows of the table."""
    num_workers = len(os.sched_getaffinity(0))
    counts = (num_images // 4, num_images)
    png = [
        made_images.make(folder / f"png{n}", n, SOURCE_SIZE, "png")
        for n in counts
    ]
    jpeg = [
        made_images.make(folder / f"jpeg{n}", n, SOURCE_SIZE, "jpg")
        for n in (4 * counts[0], 4 * counts[1])
    ]
    resize = [f"--image_size={STORED_SIZE[0]}x{STORED_SIZE[1]}"]
    out = folder / "out"
    convert = functools.partial(conversion, out, num_workers)
    loop: list[tuple[Cost, Cost]] = []
    copy: list[tuple[Cost, Cost]] = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        bare = each(functools.partial(_loop, num_workers), png)
        loop.append((bare, each(functools.partial(convert, resize), png)))
        copied = each(functools.partial(_copy, folder / "copy"), jpeg)
        copy.append((copied, each(functools.partial(convert, []), jpeg)))
    return [
        *_rows("PNG to JPEG, of the bare loop", loop, LEAST_OF_LOOP),
        *_rows("JPEG kept, of copying", copy, LEAST_OF_COPY),
    ]


def _rows(
    name: str, pairs: Sequence[tuple[Cost, Cost]], target: float
) -> list[dict[str, Any]]:
    """Returns the rows of one comparison: on the clock, and of processors.

    Others on the machine change the first more than the second.
    """
    rows = []
    for what, place in (("", 0), (", processors", 1)):
        costs = [[1000 * cost[place] for cost in pair] for pair in pairs]
        row = targets.row(
            name + what, [bare / ours for bare, ours in costs], target
        )
        row["milliseconds"] = costs
        rows.append(row)
        print(
            f"{name}{what}, ms an image:"
            + ", ".join(f" {bare:.1f} to {ours:.1f}" for bare, ours in costs),
            file=sys.stderr,
        )
    return rows


def _memory(folder: pathlib.Path, num_images: int) -> list[Any]:
    peaks = []
    for count in (num_images // 10, num_images):
        source = made_images.make(
            folder / f"small{count}", count, SMALL_SIZE, "jpg"
        )
        peaks.append(_peak_mb(source, folder / "out"))
        print(
            f"{count} images: {peaks[-1]:.0f} MB", file=sys.stderr, flush=True
        )
    name = f"memory, {num_images} images of {num_images // 10}"
    return [targets.row(name, [peaks[1] / peaks[0]], MOST_MEMORY, False)]


def main(values: flags.FlagValues) -> None:
    """Measures, prints a table, and writes the figures if asked to."""
    with tempfile.TemporaryDirectory(dir=values.work_dir) as name:
        folder = pathlib.Path(name)
        rows = _speed(folder, values.num_images, values.rounds)
        if values.memory_images:
            rows += _memory(folder, values.memory_images)
    targets.show(rows, values.json)


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
