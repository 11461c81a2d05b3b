"""Measures conversion against what it cannot be faster than.

    python -m benchmarks.convert

PNG to smaller JPEG is held against a bare loop that decodes, resizes and
encodes in as many processes; JPEG that is kept against copying the files. All
are measured in turn, several times, and the medians of the ratios count. Memory
of 10,000 images is held against that of 1,000.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

from absl import flags
from PIL import Image

from benchmarks import made_images
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


def _conversion_s(
    source: pathlib.Path, target: pathlib.Path, num_workers: int, *more: str
) -> float:
    """Returns the seconds that a conversion takes, from start to end."""
    start = time.perf_counter()
    with _convert(source, target, num_workers, *more) as process:
        code = process.wait()
    taken_s = time.perf_counter() - start
    assert code == 0, f"the conversion ended with code {code}"
    shutil.rmtree(target)
    return taken_s


def _shrink(path: str) -> int:
    """Decodes, resizes and encodes an image; what the bare loop does."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize(
            STORED_SIZE, Image.Resampling.BILINEAR
        )
    file = io.BytesIO()
    small.save(file, "JPEG", quality=95, subsampling="4:4:4")
    return len(file.getvalue())


def _loop_s(source: pathlib.Path, num_workers: int) -> float:
    """Returns seconds an image of the bare loop, on warm processes."""
    paths = [str(path) for path in sorted(source.glob("*.png"))]
    with concurrent.futures.ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context("spawn")
    ) as executor:
        list(executor.map(_shrink, paths[:num_workers] * 2))
        start = time.perf_counter()
        list(executor.map(_shrink, paths, chunksize=4))
        return (time.perf_counter() - start) / len(paths)


def _copy_s(source: pathlib.Path, target: pathlib.Path) -> float:
    """Returns seconds an image of copying the files until they are on disk."""
    paths = sorted(source.glob("*.jpg"))
    target.mkdir()
    start = time.perf_counter()
    for path in paths:
        shutil.copyfile(path, target / path.name)
    for path in paths:
        descriptor = os.open(target / path.name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    taken_s = time.perf_counter() - start
    shutil.rmtree(target)
    return taken_s / len(paths)


def _marginal_s(
    folder: pathlib.Path,
    sources: Sequence[pathlib.Path],
    num_workers: int,
    *more: str,
) -> tuple[float, float]:
    """Returns seconds an image, and those that a start takes beside them.

    Args:
      folder: for the output.
      sources: the same images, a quarter of them and all.
      num_workers: processes.
      *more: flags of the conversion.
    """
    counts = [len(list(source.glob("*.json"))) for source in sources]
    taken = [
        _conversion_s(source, folder / "out", num_workers, *more)
        for source in sources
    ]
    each_s = (taken[1] - taken[0]) / (counts[1] - counts[0])
    return each_s, taken[0] - counts[0] * each_s


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


def _row(
    name: str, ratios: Sequence[float], target: float, is_least: bool
) -> dict[str, Any]:
    reached = statistics.median(ratios)
    is_good = reached >= target if is_least else reached <= target
    return {
        "name": name,
        "target": target,
        "is_least": is_least,
        "reached": reached,
        "rounds": list(ratios),
        "verdict": "reached" if is_good else "missed",
    }


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
    resize = f"--image_size={STORED_SIZE[0]}x{STORED_SIZE[1]}"
    loop, copy = [], []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        bare_s = _loop_s(png[1], num_workers)
        each_s, start_s = _marginal_s(folder, png, num_workers, resize)
        loop.append(bare_s / each_s)
        copied_s = _copy_s(jpeg[1], folder / "copy")
        kept_s, _ = _marginal_s(folder, jpeg, num_workers)
        copy.append(copied_s / kept_s)
        print(
            f"  PNG to JPEG: loop {1 / bare_s:.1f}/s, conversion"
            f" {1 / each_s:.1f}/s and {start_s:.1f} s to start; JPEG kept:"
            f" copy {1 / copied_s:.0f}/s, conversion {1 / kept_s:.0f}/s",
            file=sys.stderr,
            flush=True,
        )
    return [
        _row("PNG to JPEG, of the bare loop", loop, LEAST_OF_LOOP, True),
        _row("JPEG kept, of copying the files", copy, LEAST_OF_COPY, True),
    ]


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
    return [_row(name, [peaks[1] / peaks[0]], MOST_MEMORY, False)]


def main(values: flags.FlagValues) -> None:
    """Measures, prints a table, and writes the figures if asked to."""
    with tempfile.TemporaryDirectory(dir=values.work_dir) as name:
        folder = pathlib.Path(name)
        rows = _speed(folder, values.num_images, values.rounds)
        if values.memory_images:
            rows += _memory(folder, values.memory_images)
    print(f"{'':40} {'target':>8} {'reached':>8}")
    for row in rows:
        sign = ">=" if row["is_least"] else "<="
        print(
            f"{row['name']:40} {sign}{row['target']:>6.2f}"
            f" {row['reached']:>8.2f} {row['verdict']}"
        )
    if values.json:
        pathlib.Path(values.json).write_text(json.dumps(rows, indent=1) + "\n")


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
