"""A validation from beginning to end: every record is read back."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from tfrecord_tools import (
    adoption,
    coco_file,
    command,
    findings,
    foreign,
    manifest_checks,
    oracle,
    pool,
    progress,
    reading,
    record_checks,
    record_exam,
    repeats,
    schema,
    shard_files,
    totals,
)

_BATCH = 32  # records per message to a worker; the oracle runs on a batch
_BATCH_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags ask for; classes is None where none are given."""

    pattern: str
    classes: tuple[str, ...] | None
    write_manifest: bool
    max_examples: int
    num_workers: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data:
    """The files to check, and what is known before they are read.

    `splits` holds the split of each file.
    """

    folder: pathlib.Path
    files: list[shard_files.ShardFile]
    splits: list[str]
    manifest: schema.Manifest | None
    classes: tuple[str, ...] | None


def validate(options: Options) -> None:
    """Checks records, prints what was found, writes a manifest if asked to.

    Raises:
      command.UserError: something is wrong with the records, or the flags do
        not fit them.
    """
    data = _open(options)
    found = findings.Findings(options.max_examples)
    if data.manifest is not None:
        manifest_checks.check_files(data.files, data.manifest, found)
        manifest_checks.check_others(data.folder, data.manifest, found)
    with adoption.opened(
        options.write_manifest, data.folder, data.classes
    ) as adopted:
        counted = _read(options, data, found, adopted)
        _print(data, counted, found)
        if found.num_errors:
            raise command.UserError(
                command.ExitCode.DATA,
                f"{found.num_errors} errors in {options.pattern}, see above:"
                " these records are not fit for training.",
            )
        if adopted is not None:
            adopted.commit(data.files, data.splits, counted)


def _open(options: Options) -> _Data:
    paths = shard_files.find(options.pattern)
    folder = pathlib.Path(os.path.dirname(paths[0]) or os.curdir)
    manifest = manifest_checks.read(folder)
    if manifest is not None and (options.classes or options.write_manifest):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{folder / schema.MANIFEST_NAME} is there and names the classes"
            f" ({', '.join(manifest.classes)}). Leave out --classes and"
            " --write_manifest: they are for records without a manifest.",
        )
    measured = pool.run_in_order(
        shard_files.measure, paths, min(options.num_workers, len(paths))
    )
    files = list(progress.shown(measured, len(paths), "Reading files"))
    return _Data(
        folder=folder,
        files=files,
        splits=manifest_checks.split_names(files, manifest),
        manifest=manifest,
        classes=manifest.classes if manifest else options.classes,
    )


def _read(
    options: Options,
    data: _Data,
    found: findings.Findings,
    adopted: adoption.Adoption | None,
) -> dict[str, totals.SplitTotals]:
    """Reads and checks all records; returns the sums of each split."""
    truths: dict[str, coco_file.CocoFile | None] = {}
    counted = {name: totals.SplitTotals() for name in data.splits}
    seen = repeats.Repeats(data.files, data.splits)
    num_records = sum(file.num_records or 0 for file in data.files)
    results = pool.run_in_order(
        record_checks.check,
        _tasks(data, truths, found),
        max(1, min(options.num_workers, num_records // _BATCH)),
    )
    checked = (
        (r.split, c) for r in _scored(results, counted) for c in r.records
    )
    for split, record in progress.shown(
        checked, max(1, num_records), "Checking records"
    ):
        counted[split].add(record)
        seen.add(split, record)
        for fault in record.faults:
            found.add(fault.kind, fault.text, fault.is_warning)
        if adopted is not None:
            adopted.add(split, record)
    rule = data.manifest.split_rule if data.manifest else {}
    seen.check(rule, manifest_checks.is_ours(data.manifest), found)
    manifest_checks.check_rule(rule, found)
    for split, sums in counted.items():
        truth = truths[split]
        if truth is not None:
            _check_complete(f"{split}.json", truth, found)
        _check_scores(split, sums, data.classes or (), found)
        if data.manifest is not None:
            manifest_checks.check_counts(split, sums, data.manifest, found)
    if data.classes is not None:
        manifest_checks.check_classes(counted, data.classes, found)
    return counted


def _scored(
    results: Iterator[record_checks.Result],
    counted: dict[str, totals.SplitTotals],
) -> Iterator[record_checks.Result]:
    for result in results:
        counted[result.split].add_scores(result.scores)
        yield result


def _tasks(
    data: _Data,
    truths: dict[str, coco_file.CocoFile | None],
    found: findings.Findings,
) -> Iterator[record_checks.Task]:
    """Yields the records of all splits in batches for the workers."""
    for split in dict.fromkeys(data.splits):
        truth = truths[split] = manifest_checks.open_truth(
            data.folder / f"{split}.json", data.manifest, data.classes, found
        )
        for batch in _batches(data, split, found):
            yield record_checks.Task(
                split=split,
                records=batch,
                truths=None
                if truth is None
                else [truth.find(record.source_id) for record in batch],
                classes=data.classes,
                is_ours=manifest_checks.is_ours(data.manifest),
            )


def _batches(
    data: _Data, split: str, found: findings.Findings
) -> Iterator[list[record_exam.Record]]:
    batch: list[record_exam.Record] = []
    num_bytes = 0
    files = {
        file.path: index
        for index, file in enumerate(data.files)
        if data.splits[index] == split
    }
    for raw in reading.records([data.files[i] for i in files.values()]):
        features = (
            None if raw.content is None else reading.features(raw.content)
        )
        if raw.content is None or features is None:
            damage = raw.damage or "it is no tf.train.Example"
            found.add(
                "damaged", f"{raw.file.name}, record {raw.number}: {damage}"
            )
            continue
        place = repeats.place(files[raw.file.path], raw.number)
        batch.append(
            record_exam.Record(place, raw.file.name, raw.number, features)
        )
        num_bytes += len(raw.content)
        if len(batch) == _BATCH or num_bytes > _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _check_complete(
    name: str, truth: coco_file.CocoFile, found: findings.Findings
) -> None:
    for number in truth.image_ids[~truth.was_asked_for]:
        found.add("coco_json", f"{name}: image {number} has no record")


def _check_scores(
    split: str,
    sums: totals.SplitTotals,
    classes: tuple[str, ...],
    found: findings.Findings,
) -> None:
    for label, name in enumerate(classes, start=1):
        score = sums.scores.get(label, 1.0)
        if score < oracle.LEAST:
            found.add(
                "oracle",
                f"split {split!r}, class {name!r}: the records' boxes as"
                f" detections score {score:.4f} against {split}.json, expected"
                f" at least {oracle.LEAST}",
            )


def _print(
    data: _Data,
    counted: dict[str, totals.SplitTotals],
    found: findings.Findings,
) -> None:
    print("\n".join(foreign.table(counted, data.classes)))
    if not manifest_checks.is_ours(data.manifest):
        has_manifest = data.manifest is not None
        for line in foreign.remarks(counted, data.classes, has_manifest):
            print(line)
    for line in found.lines():
        print(line)
    if not found.num_errors:
        print(f"No errors in {len(data.files)} files.")
