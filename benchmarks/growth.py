"""Measures what grows with batch, input size and cores, and where it bends.

    python -m benchmarks.growth

A training step of EfficientDet-D0 over the images of a batch and over the size
of the input, its memory, and conversion and input over cores. Prints tables,
and draws a plot. Every line is that of the first three points (cores: of one),
and the point is named from which all are more than a tenth off it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from benchmarks import convert, growth_plot, growth_series, made_images
from efficientdet_aimmo.benching import cases, child, sweep
from tfrecord_tools import command

BATCHES = (1, 2, 4, 8, 16)
SIDES = (128, 256, 384, 512, 768)
SIDE = 256  # of the images of a batch
INPUT_SIDE = 512
MOST_S = 900.0  # of a process
_MIB = 2**20
_SETTINGS = {"learning_rate": 0.001}

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "plot", "growth.png", "file that the plot is written to", flag_values=FLAGS
)
flags.DEFINE_string(
    "json", None, "file that the figures are written to", flag_values=FLAGS
)
flags.DEFINE_string(
    "from_json",
    None,
    "measure nothing: draw and print the figures of this file",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_images",
    400,
    "images of the larger conversion; the smaller has a quarter",
    lower_bound=8,
    flag_values=FLAGS,
)


def _measured(
    verb: str, side: int, batches: Sequence[int], folder: str
) -> list[cases.Row]:
    """Returns the rows of a network measured in a process of its own."""
    case = cases.Case(
        verb=verb,
        model_name="efficientdet-d0",
        precision="",
        use_xla=False,
        hparams={"image_size": (side, side), **_SETTINGS},
        batches=cases.Batches(sizes=tuple(batches), first=1, most=1),
    )
    print(f"{verb} {side}x{side} {list(batches)}", file=sys.stderr, flush=True)
    events = list(child.start(case, MOST_S, folder))
    rows = [event for event in events if isinstance(event, cases.Row)]
    if events[-1] != sweep.Ended("") or any(row.end for row in rows):
        raise command.UserError(
            command.ExitCode.DEVICE,
            f"{verb} at {side}x{side} was not measured to its end:"
            f" {events[-1]}. Run it where memory"
            " suffices and nothing else is going on.",
        )
    return rows


def _step_s(row: cases.Row) -> float:
    return statistics.median(row.steps_s)


@contextlib.contextmanager
def _cores(number: int) -> Iterator[None]:
    """Lets this process, and those that it starts, use so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _over_cores(
    num_images: int, folder: pathlib.Path
) -> list[growth_series.Series]:
    """Measures conversion and input with one core, two, and so on."""
    from efficientdet_aimmo.benching import made, made_records, measuring

    counts = [1]
    while 2 * counts[-1] <= len(os.sched_getaffinity(0)):
        counts.append(2 * counts[-1])
    sources = [
        made_images.make(folder / f"jpeg{n}", n, convert.SOURCE_SIZE, "jpg")
        for n in (num_images // 4, num_images)
    ]
    resized = "--image_size={}x{}".format(*convert.STORED_SIZE)
    records = folder / "records"
    made_records.write(
        records,
        made.photographs(16, convert.SOURCE_SIZE),
        measuring.NUM_RECORDS,
        4,
    )
    speeds: dict[str, list[float]] = {"conversion": [], "input": []}
    for count in counts:
        print(f"{count} cores", file=sys.stderr, flush=True)
        with _cores(count):
            cost = convert.each(
                functools.partial(
                    convert.conversion, folder / "out", count, [resized]
                ),
                sources,
            )
            speeds["conversion"].append(1.0 / cost.wall_s)
            row = _measured("input", INPUT_SIDE, [8], str(records))[0]
            speeds["input"].append(row.batch_size / _step_s(row))
    titles = {
        "conversion": "Conversion of JPEGs, 1920x1024 to 960x512",
        "input": f"Input of training, JPEGs of 1920x1024 to {INPUT_SIDE}",
    }
    return [
        growth_series.Series(
            titles[name],
            "cores",
            "speed, images/s",
            [float(count) for count in counts],
            [str(count) for count in counts],
            ys,
            through_one=True,
        )
        for name, ys in speeds.items()
    ]


def measure(num_images: int) -> list[growth_series.Series]:
    """Returns everything that the command measures."""
    with tempfile.TemporaryDirectory() as name:
        cores = _over_cores(num_images, pathlib.Path(name))
    batches = _measured("train", SIDE, BATCHES, "")
    sizes = [_measured("train", n, [1], "")[0] for n in SIDES]
    xs = [float(row.batch_size) for row in batches]
    names = [str(row.batch_size) for row in batches]
    return [
        growth_series.Series(
            f"Training step, D0 at {SIDE}x{SIDE}",
            "images of a batch",
            "time, s",
            xs,
            names,
            [_step_s(row) for row in batches],
        ),
        growth_series.Series(
            "Training step, D0, one image",
            "input",
            "time, s",
            [float(side * side) for side in SIDES],
            [f"{side}x{side}" for side in SIDES],
            [_step_s(row) for row in sizes],
        ),
        growth_series.Series(
            f"Memory of the process, D0 at {SIDE}x{SIDE}",
            "images of a batch",
            "memory, MiB",
            xs,
            names,
            [row.peak / _MIB for row in batches],
        ),
        *cores,
    ]


def main(values: flags.FlagValues) -> None:
    """Measures, prints tables, draws, and writes the figures if asked to."""
    content: dict[str, Any]
    if values.from_json:
        content = json.loads(pathlib.Path(values.from_json).read_text())
        found = [growth_series.Series(**series) for series in content["series"]]
    else:
        from efficientdet_aimmo.benching import facts

        found = measure(values.num_images)
        content = {
            "device": facts.gather("/").device,
            "series": [series._asdict() for series in found],
        }
    print(content["device"] + "\n")
    for series in found:
        print(growth_series.table(series))
    growth_plot.draw(
        growth_series.panels(found),
        pathlib.Path(values.plot),
        content["device"],
    )
    if values.json:
        text = json.dumps(content, indent=1) + "\n"
        pathlib.Path(values.json).write_text(text)


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
