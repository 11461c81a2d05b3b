"""The result of an evaluation as text and as a JSON file."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from efficientdet_aimmo import whole
from efficientdet_aimmo.evaluation import metrics as metrics_lib
from tfrecord_tools import command, storage

FOLDER = "eval"  # in the model_dir
_STEP_DIGITS = 8  # so that names sort as numbers do
_NAME = re.compile(rf"(\d{{{_STEP_DIGITS},}})\.json")
_HEADINGS = (
    *("class", "objects", "AP", "AP50", "AP75"),
    *("precision", "recall", "F1", "threshold"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What eval/<step>.json holds.

    step: of the weights that were evaluated.
    ground_truth: the file's name.
    alarms: empty in a healthy run.
    """

    step: int
    ground_truth: str
    metrics: metrics_lib.Metrics
    alarms: tuple[str, ...]


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _cells(
    item: metrics_lib.Metrics | metrics_lib.ClassMetrics,
    name: str,
    counts: metrics_lib.Counts,
) -> list[str]:
    figures = (item.ap, item.ap50, item.ap75)
    matched = (counts.precision, counts.recall, counts.f1, counts.threshold)
    return [
        name,
        str(item.objects),
        *(_figure(value) for value in figures + matched),
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Returns the rows as lines: names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *figures in rows:
        cells = [name.ljust(widths[0])]
        cells += [f.rjust(w) for f, w in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return lines


def table(metrics: metrics_lib.Metrics) -> str:
    """Returns a row per class at its own best threshold, and one over all."""
    rows = [list(_HEADINGS)]
    rows += [_cells(item, item.name, item.at_best) for item in metrics.classes]
    rows.append(_cells(metrics, "all", metrics.overall))
    lines = _aligned(rows)
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _common_table(metrics: metrics_lib.Metrics) -> list[str]:
    """Returns the raw counts of every class at the common threshold."""
    rows = [["class", "right", "wrong", "missed", "precision", "recall", "F1"]]
    shared = [(item.name, item.at_common) for item in metrics.classes]
    for name, counts in [*shared, ("all", metrics.overall)]:
        found = (counts.true_positives, counts.false_positives)
        rows.append(
            [
                name,
                *(str(number) for number in found),
                str(counts.false_negatives),
                *(_figure(v) for v in (counts.precision, counts.recall)),
                _figure(counts.f1),
            ]
        )
    return _aligned(rows)


def text(report: Report) -> str:
    """Returns the whole report for a terminal."""
    metrics = report.metrics
    sizes = (metrics.ap_small, metrics.ap_medium, metrics.ap_large)
    by_size = ", ".join(
        f"{name} {_figure(value)}"
        for name, value in zip(("small", "medium", "large"), sizes, strict=True)
    )
    common = metrics.overall.threshold
    lines = [
        f"Step {report.step}: {metrics.images} images, {metrics.objects}"
        f" objects, {metrics.detections} detections.",
        "",
        table(metrics),
        "",
        f"AP by object size: {by_size}. AR100 {_figure(metrics.ar100)}.",
        "Precision, recall and F1: IoU 0.5, all areas, up to 100 detections"
        " per class and image;",
        "each class at the threshold of its best F1, 'all' at the common one.",
    ]
    if common is None:
        lines.append("No detection matches an object: there is no threshold.")
    else:
        lines += [
            "All thresholds were chosen on this split.",
            "",
            f"At the common threshold {common:.3f}:",
            *_common_table(metrics),
        ]
    lines += [f"ALARM: {sentence}" for sentence in report.alarms]
    return "\n".join(lines)


def write_whole(path: str, content: str) -> None:
    """Writes a text file so that it is whole or as it was before.

    Raises:
      UserError: the folder or file cannot be written.
    """
    try:
        whole.write_file(path, content.encode())
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"{path} cannot be written ({error.strerror}). Make room or choose"
            " another folder.",
        ) from error


def path_of(folder: str, step: int) -> str:
    """Returns the file of a step's report, whether there or not."""
    return storage.join(folder, f"{step:0{_STEP_DIGITS}d}.json")


def write(report: Report, folder: str) -> str:
    """Writes <folder>/<step>.json, whole or not at all, and returns its path.

    Equal reports are equal files.

    Raises:
      UserError: the folder or file cannot be written.
    """
    path = path_of(folder, report.step)
    write_whole(path, json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    return path


def _counts(values: dict[str, Any]) -> metrics_lib.Counts:
    return metrics_lib.Counts(**values)


def _metrics(values: dict[str, Any]) -> metrics_lib.Metrics:
    classes = tuple(
        metrics_lib.ClassMetrics(
            **{
                **item,
                "at_best": _counts(item["at_best"]),
                "at_common": _counts(item["at_common"]),
            }
        )
        for item in values["classes"]
    )
    overall = _counts(values["overall"])
    return metrics_lib.Metrics(
        **{**values, "overall": overall, "classes": classes}
    )


def read(path: str) -> Report:
    """Returns the report in a file that write made.

    Raises:
      UserError: the file cannot be read as one.
    """
    try:
        values = json.loads(storage.read_bytes(path))
        return Report(
            **{
                **values,
                "metrics": _metrics(values["metrics"]),
                "alarms": tuple(values["alarms"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{path} is not an evaluation that can be read"
            f" ({type(error).__name__}: {error}). Evaluate again.",
        ) from error


def latest(folder: str) -> Report | None:
    """Returns the report of the highest step in a folder, if there is one."""
    with whole.reached(folder):
        found = [
            (int(match[1]), name)
            for name in storage.names(folder)
            if (match := _NAME.fullmatch(name))
        ]
    return read(storage.join(folder, max(found)[1])) if found else None
