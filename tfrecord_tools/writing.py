"""Writes the records and the ground truth that a plan asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Iterator

from tfrecord_tools import (
    accounts,
    example,
    ground_truth,
    planning,
    pool,
    prepare,
    progress,
    schema,
    shards,
    split,
)

_NUM_SAMPLES = 8  # images whose size as stored sets the number of shards


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Writers:
    records: shards.SplitWriter
    truth: ground_truth.Writer


def write(
    options: planning.Options,
    plan: planning.Plan,
    folder: pathlib.Path,
    images: accounts.Account,
    objects: accounts.Account,
) -> tuple[dict[str, schema.Split], int]:
    """Writes all splits into a folder; returns them and the boxes clipped.

    Args:
      options: what the flags ask for.
      plan: what to write.
      folder: where to.
      images: the account of images, with what is not in the plan.
      objects: the account of objects, likewise.

    Raises:
      command.UserError: the disk refuses, or a worker died.
    """
    settings = prepare.Settings(
        labels=options.labels,
        image_size=options.image_size,
        jpeg_quality=options.jpeg_quality,
        max_pixels=options.max_pixels,
        filters=options.selection.filters,
    )
    classes = options.labels.classes
    num_clipped = 0
    with contextlib.ExitStack() as stack:
        writers: dict[str, _Writers] = {}
        for name in plan.splits:
            truth = stack.enter_context(
                ground_truth.Writer(folder / f"{name}.json", classes)
            )
            records = shards.SplitWriter(folder, name, classes)
            stack.callback(records.close)
            writers[name] = _Writers(records=records, truth=truth)
        for name, shard, item, result in _prepared(options, plan, settings):
            if isinstance(result, prepare.Rejected):
                planning.reject_image(images, result)
                objects.rejected["image_rejected"] += item.summary.num_objects
                continue
            _add(writers[name], shard, item, result, classes)
            _account(images, objects, item, result)
            num_clipped += result.num_clipped
    splits = {name: w.records.finish() for name, w in writers.items()}
    if options.choice.eval_on_train:
        splits[split.VAL] = _copy_as_val(folder, splits[split.TRAIN])
    return splits, num_clipped


def _add(
    writers: _Writers,
    shard: int,
    item: planning.Item,
    prepared: prepare.Prepared,
    classes: tuple[str, ...],
) -> None:
    record = example.serialize(
        prepared.image, prepared.objects, item.image, item.source_id, classes
    )
    writers.records.write(shard, record, [o.label for o in prepared.objects])
    writers.truth.add(
        item.source_id, item.image, prepared.image, prepared.objects
    )


def _account(
    images: accounts.Account,
    objects: accounts.Account,
    item: planning.Item,
    prepared: prepare.Prepared,
) -> None:
    images.written += 1
    objects.written += len(prepared.objects)
    objects.filtered.update(prepared.filtered)
    for fault in prepared.rejected:
        objects.reject(
            fault.reason,
            {
                "file": item.summary.file,
                "annotation_id": fault.annotation_id,
                "detail": fault.detail,
            },
        )


def _task(options: planning.Options, item: planning.Item) -> prepare.Task:
    return prepare.Task(
        file=item.summary.file,
        annotation_path=str(options.input_dir / item.summary.file),
        checksum=item.summary.checksum,
        image_path=str(options.image_dir / item.image),
    )


def _prepared(
    options: planning.Options,
    plan: planning.Plan,
    settings: prepare.Settings,
) -> Iterator[
    tuple[str, int, planning.Item, prepare.Prepared | prepare.Rejected]
]:
    """Yields split, shard, item and what a worker made of it, in order."""
    jobs = [
        (name, shard, item)
        for name, items in plan.splits.items()
        for shard, item in zip(
            shards.slices(len(items), _num_shards(options, items, settings)),
            items,
            strict=True,
        )
    ]
    results = pool.run_in_order(
        functools.partial(prepare.prepare, settings),
        (_task(options, item) for _, _, item in jobs),
        min(options.num_workers, len(jobs)),
    )
    shown = progress.shown(results, len(jobs), "Writing images")
    for (name, shard, item), result in zip(jobs, shown, strict=True):
        yield name, shard, item, result


def _num_shards(
    options: planning.Options,
    items: list[planning.Item],
    settings: prepare.Settings,
) -> int:
    if options.num_shards is not None:
        return shards.count(len(items), 0, options.num_shards)
    sizes = []
    for item in items[:: max(1, len(items) // _NUM_SAMPLES)]:
        result = prepare.prepare(settings, _task(options, item))
        if isinstance(result, prepare.Prepared):
            sizes.append(len(result.image.content))
    mean_bytes = sum(sizes) / len(sizes) if sizes else 0
    return shards.count(len(items), mean_bytes, None)


def _copy_as_val(folder: pathlib.Path, train: schema.Split) -> schema.Split:
    """Copies the training split under the validation split's names."""
    copies = []
    for index, shard in enumerate(train.shards):
        name = shards.name(split.VAL, index, len(train.shards))
        shutil.copyfile(folder / shard.name, folder / name)
        copies.append(dataclasses.replace(shard, name=name))
    shutil.copyfile(
        folder / f"{split.TRAIN}.json", folder / f"{split.VAL}.json"
    )
    return dataclasses.replace(train, shards=tuple(copies))
