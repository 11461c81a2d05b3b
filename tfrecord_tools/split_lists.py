"""Reads the list files that say which image is in which split."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence

from tfrecord_tools import command, storage


def read(
    lists: Mapping[str, str], paths: Iterable[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[str]]]:
    """Returns the images of each split, and the entries that name none.

    Args:
      lists: the list file of each split.
      paths: the usable images.

    Raises:
      command.UserError: a list cannot be read or is ambiguous, or an image is
        in two lists.
    """
    index = _index_names(paths)
    splits: dict[str, tuple[str, ...]] = {}
    missing: dict[str, list[str]] = {}
    for name, path in lists.items():
        entries = _read_list(f"--{name}_list", path)
        splits[name], absent = _look_up(path, entries, index)
        if absent:
            missing[name] = absent
    for one, other in itertools.combinations(splits, 2):
        both = sorted(set(splits[one]) & set(splits[other]))
        if both:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"{len(both)} images are in both {lists[one]} and"
                f" {lists[other]}, such as {both[0]}. Validation would measure"
                " what was learnt by heart: take them out of one list, or give"
                " --eval_on_train instead of --val_list if that is wanted.",
            )
    return splits, missing


def _index_names(paths: Iterable[str]) -> dict[str, set[str]]:
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
