"""Keeps together what must not be divided: the frames of one drive."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import numpy as np

from tfrecord_tools import command, stratification


def regex_fault(regex: str) -> str:
    """Returns what is wrong with --group_regex, or ""."""
    try:
        num_groups = re.compile(regex).groups
    except re.error as error:
        return f"--group_regex={regex} is not a regular expression: {error}."
    if num_groups == 1:
        return ""
    return (
        f"--group_regex={regex} has {num_groups} groups in parentheses, one"
        " was expected: the part of an image's path that is the same for all"
        r" images that stay together, as in '^(\d{8})_'."
    )


def keys(regex: str | None, drives: Mapping[str, str]) -> dict[str, str]:
    """Returns what each image stays together with, by the image's path.

    Args:
      regex: searched in the path; its one group is the key. None for drives.
      drives: the drive of each image.

    Raises:
      command.UserError: the regular expression finds nothing in some paths.
    """
    if regex is None:
        return dict(drives)
    found = {image: re.search(regex, image) for image in drives}
    groups = {i: m[1] for i, m in found.items() if m is not None and m[1]}
    others = sorted(set(drives) - set(groups))
    if others:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--group_regex={regex} finds no group in {len(others)} of"
            f" {len(drives)} images, such as {', '.join(others[:3])}. It is"
            " searched in an image's path below the image folder.",
        )
    return groups


def divide(
    targets: Mapping[str, float],
    priorities: Mapping[str, float],
    groups: Mapping[str, str],
    objects: Mapping[str, Mapping[str, int]],
    seed: int,
    what: str,
) -> dict[str, str]:
    """Returns the part of each group, so that parts are alike in their classes.

    Args:
      targets: the share of each part.
      priorities: how bad it is that a part lacks a class.
      groups: the group of each image.
      objects: number of objects per class name of each image.
      seed: sets the order the groups are dealt in; that of the images has no
        effect.
      what: a group's name in messages.

    Raises:
      command.UserError: there are fewer groups than parts.
    """
    classes = sorted({name for counts in objects.values() for name in counts})
    rows: dict[str, np.ndarray] = {}
    for image, key in groups.items():
        row = rows.setdefault(key, np.zeros(1 + len(classes), np.int64))
        counts = objects.get(image, {})
        row += [1, *(counts.get(name, 0) for name in classes)]
    if len(rows) < len(targets):
        raise command.UserError(
            command.ExitCode.DATA,
            f"{len(targets)} parts ({', '.join(targets)}) of whole {what}s were"
            f" asked for, and all {len(groups)} images are of {len(rows)}"
            f" {what}{'s' * (len(rows) != 1)}. Give --train_list and"
            " --val_list, --eval_on_train, or a --group_regex that makes"
            " smaller groups.",
        )
    order = sorted(
        rows,
        key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest(),
    )
    parts = stratification.divide(
        np.array([rows[key] for key in order]),
        list(targets.values()),
        [priorities[name] for name in targets],
    )
    names = list(targets)
    return {key: names[p] for key, p in zip(order, parts, strict=True)}
