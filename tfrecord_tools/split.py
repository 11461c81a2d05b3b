"""Decides which image goes into which split."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecord_tools import command, storage

TRAIN = "train"
VAL = "val"
_MAX_EXAMPLES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What the flags say about the split; at most one rule is given."""

    train_list: str | None
    val_list: str | None
    val_fraction: float | None
    eval_on_train: bool
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """The images of each split, and the rule for the manifest.

    With eval_on_train, "val" is not among the splits: it is a copy of "train".
    """

    splits: dict[str, tuple[str, ...]]
    rule: dict[str, Any]


def check_choice(choice: Choice) -> None:
    """Checks that the flags do not contradict each other.

    Raises:
      command.UserError: they do.
    """
    given = [
        name
        for name, is_given in (
            ("--val_list", choice.val_list is not None),
            ("--val_fraction", choice.val_fraction is not None),
            ("--eval_on_train", choice.eval_on_train),
        )
        if is_given
    ]
    message = ""
    if len(given) > 1:
        message = (
            f"{' and '.join(given)} each say what to validate on. Give one."
        )
    elif choice.val_list is not None and choice.train_list is None:
        message = "--val_list needs --train_list: which images to train on."
    elif choice.val_fraction is not None and choice.train_list is not None:
        message = "--train_list and --val_fraction exclude each other."
    elif choice.val_fraction is not None and not 0 < choice.val_fraction < 1:
        message = (
            f"--val_fraction={choice.val_fraction} is not between 0 and 1."
        )
    if message:
        raise command.UserError(command.ExitCode.USAGE, message)


def assign(
    choice: Choice,
    drives: Mapping[str, str],
    own: Mapping[str, str] | None = None,
) -> Assignment:
    """Returns the splits; every image in it is one of `drives`.

    Args:
      choice: the rule.
      drives: the drive of each image, by the image's path.
      own: the split that the data set itself puts images in, if it does; holds
        where the flags say nothing.

    Raises:
      command.UserError: a list cannot be read or is ambiguous, an image is in
        both lists, or a split would be empty.
    """
    rule: dict[str, Any]
    if choice.train_list is not None:
        splits, rule = _by_lists(choice, drives)
    elif choice.val_fraction is not None:
        splits, rule = _by_drive(choice.val_fraction, choice.seed, drives)
    elif own is not None and not choice.eval_on_train:
        splits, rule = _by_data_set(own), {"rule": "data_set"}
    else:
        splits, rule = {TRAIN: tuple(sorted(drives))}, {"rule": "all_train"}
    if choice.eval_on_train:
        rule = {**rule, "eval_on_train": True}
    for name, members in splits.items():
        if not members:
            raise command.UserError(
                command.ExitCode.DATA,
                f"Split {name!r} would have no image (rule {rule['rule']!r},"
                f" {len(drives)} usable images). Check the folder and the"
                " lists.",
            )
    return Assignment(splits=splits, rule=rule)


def _by_lists(
    choice: Choice, drives: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    lists = {TRAIN: choice.train_list, VAL: choice.val_list}
    index = _index_names(drives)
    splits: dict[str, tuple[str, ...]] = {}
    missing: dict[str, Any] = {}
    for name, path in lists.items():
        if path is None:
            continue
        entries = _read_list(f"--{name}_list", path)
        splits[name], absent = _look_up(path, entries, index)
        if absent:
            missing[name] = {
                "count": len(absent),
                "examples": absent[:_MAX_EXAMPLES],
            }
    both = sorted(set(splits[TRAIN]) & set(splits.get(VAL, ())))
    if both:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{len(both)} images are in both {choice.train_list} and"
            f" {choice.val_list}, such as {both[0]}. Validation would measure"
            " what was learnt by heart: take them out of one list, or give"
            " --eval_on_train instead of --val_list if that is wanted.",
        )
    return splits, {"rule": "lists", "listed_but_not_usable": missing}


def _by_data_set(own: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    splits = {
        name: tuple(sorted(i for i, s in own.items() if s == name))
        for name in (TRAIN, VAL)
    }
    return splits if splits[VAL] else {TRAIN: splits[TRAIN]}


def _index_names(paths: Mapping[str, str]) -> dict[str, set[str]]:
    """Returns the images that each path, file name and stem may mean."""
    index: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        name = os.path.basename(path)
        for key in (path, name, os.path.splitext(name)[0]):
            index[key].add(path)
    return index


def _read_list(flag: str, path: str) -> list[str]:
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{flag}={path} cannot be read ({error}). Expected a text file"
            " with one image per line: its path below the image folder, its"
            " file name, or that without the extension.",
        ) from error
    lines = (line.strip() for line in text.splitlines())
    return [os.path.normpath(line) for line in lines if line]


def _look_up(
    path: str, entries: Sequence[str], index: Mapping[str, set[str]]
) -> tuple[tuple[str, ...], list[str]]:
    """Returns the listed images, sorted, and the entries that match none."""
    members: set[str] = set()
    absent: list[str] = []
    for entry in entries:
        found = index.get(entry, set())
        if entry in found:  # a whole path says exactly which
            found = {entry}
        if len(found) > 1:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"{path} lists {entry!r}, which is the name of {len(found)}"
                f" images: {', '.join(sorted(found)[:3])}. Write their paths"
                " below the image folder.",
            )
        members |= found
        if not found:
            absent.append(entry)
    return tuple(sorted(members)), absent


def _by_drive(
    fraction: float, seed: int, drives: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Moves whole drives to val until it has its share of the images.

    Frames of one drive are seconds apart: near-duplicates on both sides would
    make validation say little.
    """
    sizes = collections.Counter(drives.values())
    if len(sizes) < 2:
        raise command.UserError(
            command.ExitCode.DATA,
            f"--val_fraction={fraction} splits by drive, and all"
            f" {len(drives)} images are of {len(sizes)} drive. Give"
            " --train_list and --val_list, or --eval_on_train.",
        )
    order = sorted(
        sizes,
        key=lambda d: hashlib.sha256(f"{seed}:{d}".encode()).digest(),
    )
    val: set[str] = set()
    num_images = 0
    for drive in order[:-1]:  # the last one stays, so that train has a drive
        if val and num_images + sizes[drive] / 2 > fraction * len(drives):
            break
        val.add(drive)
        num_images += sizes[drive]
    splits = {
        TRAIN: tuple(sorted(i for i, d in drives.items() if d not in val)),
        VAL: tuple(sorted(i for i, d in drives.items() if d in val)),
    }
    rule = {
        "rule": "val_fraction_by_drive",
        "val_fraction": fraction,
        "seed": seed,
        "num_drives": len(sizes),
        "val_drives": sorted(val),
    }
    return splits, rule


def shuffled(paths: Sequence[str], seed: int) -> list[str]:
    """Returns the images in an order that follows from their names and seed.

    So each shard is a fair sample of all drives.
    """
    return sorted(
        paths, key=lambda p: hashlib.sha256(f"{seed}:{p}".encode()).digest()
    )
