"""Writes what a plan asks for into a folder, all but the manifest."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecord_tools import (
    assembly,
    journal,
    parts,
    planning,
    prepare,
    shards,
)

_NUM_SAMPLES = 8  # images whose size as stored sets the number of shards


def settings(options: planning.Options) -> prepare.Settings:
    """Returns what is done to every image."""
    return prepare.Settings(
        labels=options.labels,
        image_size=options.image_size,
        resize=options.resize,
        image_format=options.image_format,
        jpeg_quality=options.jpeg_quality,
        max_pixels=options.max_pixels,
    )


def write(
    options: planning.Options,
    plan: planning.Plan,
    folder: str,
    arguments: Mapping[str, Any],
) -> assembly.Written:
    """Writes all splits, except what is there from a run that was stopped.

    Args:
      options: what the flags ask for.
      plan: what to write.
      folder: where to.
      arguments: as they will stand in the manifest.

    Raises:
      OSError: the folder cannot be written.
      command.UserError: a worker or the runner failed.
    """
    planned = _parts(options, plan)
    now = journal.contents(arguments, planned)
    finished = journal.resume(folder, now, planned)
    _run_engine(options, [p for p in planned if p.name not in finished], folder)
    return assembly.assemble(options, plan, folder, planned)


def _run_engine(
    options: planning.Options, planned: Sequence[parts.Part], folder: str
) -> None:
    common = (
        planned,
        settings(options),
        options.labels.classes,
        options.formats,
        folder,
    )
    # Each is imported only where it is used: Beam may not be installed.
    if options.engine == "beam":
        from tfrecord_tools import engine_beam

        engine_beam.run(*common, options.beam_args)
    else:
        from tfrecord_tools import engine_local

        engine_local.run(*common, options.num_workers)


def _parts(options: planning.Options, plan: planning.Plan) -> list[parts.Part]:
    planned = []
    for name, items in plan.splits.items():
        members: dict[int, list[parts.Item]] = collections.defaultdict(list)
        indices = shards.slices(len(items), _num_shards(options, items))
        for index, item in zip(indices, items, strict=True):
            members[index].append(
                parts.Item(
                    image=item.image,
                    source_id=item.source_id,
                    num_objects=item.summary.num_objects,
                    task=planning.task(options, item),
                )
            )
        planned += [
            parts.Part(split=name, index=index, items=tuple(of))
            for index, of in members.items()
        ]
    return planned


def _num_shards(options: planning.Options, items: list[planning.Item]) -> int:
    if options.num_shards is not None:
        return shards.count(len(items), 0, options.num_shards)
    sizes = []
    for item in items[:: max(1, len(items) // _NUM_SAMPLES)]:
        task = planning.task(options, item)
        result = prepare.prepare(settings(options), task)
        if isinstance(result, prepare.Prepared):
            sizes.append(len(result.image.content))
    mean_bytes = sum(sizes) / len(sizes) if sizes else 0
    return shards.count(len(items), mean_bytes, None)
