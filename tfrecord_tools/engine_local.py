"""Makes parts with all cores of this machine."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

from tfrecord_tools import decoding, part_writer, parts, pool, prepare, progress


def run(
    planned: Sequence[parts.Part],
    settings: prepare.Settings,
    classes: Sequence[str],
    wanted: Sequence[str],
    folder: str,
    num_workers: int,
) -> None:
    """Makes the parts, one after the other.

    Args:
      planned: the parts to make.
      settings: what is done to every image.
      classes: class names in the order of their ids.
      wanted: names of formats.FORMATS.
      folder: where to.
      num_workers: processes; 1 does without.

    Raises:
      OSError: the folder cannot be written.
      command.UserError: a worker died.
    """
    total = sum(len(part.items) for part in planned)
    if not total:
        return
    tasks = (item.task for part in planned for item in part.items)
    num_workers = min(num_workers, total)
    prepared = pool.run_in_order(
        functools.partial(prepare.prepare, settings), tasks, num_workers
    )
    # In threads: the decoder lets go of the interpreter.
    checked = pool.run_in_threads(decoding.check, prepared, num_workers)
    results = progress.shown(checked, total, "Writing images")
    for part in planned:
        _write(part_writer.Writer(folder, part, classes, wanted), part, results)
    # So that the bar of progress ends as well.
    assert next(results, None) is None


def _write(
    writer: part_writer.Writer,
    part: parts.Part,
    results: Iterator[prepare.Prepared | prepare.Rejected],
) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(writer.close)
        for item in part.items:
            writer.add(item, next(results))
        writer.finish()
