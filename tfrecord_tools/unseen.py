"""Answers filters and shares that name what the data do not have."""

from __future__ import annotations

import collections
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping

from tfrecord_tools import choosing, command, prepare, selection

_SHOWN = 20
_IMAGES, _OBJECTS = "images", "objects"


def check_filters(
    table: choosing.Table,
    summaries: Iterable[prepare.Summary],
    filters: selection.Filters,
    read_again: Callable[
        [selection.Filters], Iterator[prepare.Summary | prepare.Rejected]
    ],
) -> None:
    """Checks that the filters' fields and words occur.

    Args:
      table: what is known of the usable images.
      summaries: their annotations.
      filters: the filters.
      read_again: reads all annotations with other filters. Only for an error
        are all fields looked at: holding them would take much memory.

    Raises:
      command.UserError: one does not; names the nearest that does.
    """
    in_images = table.seen({f.field for f in filters.images})
    in_objects: collections.Counter[str] = collections.Counter()
    for summary in summaries:
        in_objects.update(summary.seen)
    lost = [
        *((*f, _IMAGES) for f in _unseen(filters.images, in_images)),
        *((*f, _OBJECTS) for f in _unseen(filters.objects, in_objects)),
    ]
    if not lost:
        return
    item, word, things = lost[0]
    seen: collections.Counter[str] = collections.Counter()
    for result in read_again(dataclasses.replace(filters, is_survey=True)):
        if isinstance(result, prepare.Rejected):
            continue
        if things == _OBJECTS:
            seen.update(result.seen)
            continue
        fields = dict(result.fields)
        if result.drive is not None:
            fields[choosing.DRIVE] = result.drive
        seen.update([*fields, choosing.NUM_OBJECTS])
        if item.field in fields:
            seen[f"{item.field}:{fields[item.field]}"] += 1
    raise _error(item, word, things, seen)


def check_cameras(table: choosing.Table, cameras: Iterable[str]) -> None:
    """Checks that each camera took an image.

    Raises:
      command.UserError: one did not; names the nearest that did.
    """
    sizes = table.totals(table.counts)["cameras"]
    for camera in cameras:
        if camera not in sizes:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--camera_share={camera}: no image is of camera {camera!r};"
                f" {_hint(camera, sizes, _IMAGES)} Nothing was written.",
            )


def _hint(wanted: str, counts: Mapping[str, int], things: str) -> str:
    by_lower = {name.lower(): name for name in sorted(counts)}
    near = difflib.get_close_matches(wanted.lower(), by_lower, n=1)
    if near:
        name = by_lower[near[0]]
        return f"did you mean {name!r} ({counts[name]} {things})?"
    listed = collections.Counter(counts).most_common(_SHOWN)
    shown = ", ".join(f"{n} ({c})" for n, c in listed)
    more = f" and {len(counts) - _SHOWN} more" * (len(counts) > _SHOWN)
    return f"what occurs: {shown or 'nothing'}{more}."


def _unseen(
    filters: Iterable[selection.Filter], seen: Mapping[str, int]
) -> list[tuple[selection.Filter, str | None]]:
    """Returns the filters whose field (None) or word never occurs.

    Args:
      filters: the filters.
      seen: counts as Filters.seen returns them.
    """
    found: list[tuple[selection.Filter, str | None]] = []
    for item in filters:
        if not seen.get(item.field):
            found.append((item, None))
            continue
        found += [
            (item, text)
            for text in item.texts
            if not seen.get(f"{item.field}:{text}")
        ]
    return found


def _error(
    item: selection.Filter,
    word: str | None,
    things: str,
    seen: Mapping[str, int],
) -> command.UserError:
    """Returns the error for a field or a word that never occurs.

    Args:
      item: the filter.
      word: its value that never occurs, or None if its field does not.
      things: "images" or "objects".
      seen: counts of a survey.
    """
    start = f"{item.field}:"
    if word is None:
        what = f"no annotation has a field {item.field!r} for {things}"
        counts = {n: c for n, c in seen.items() if ":" not in n and c}
        wanted = item.field
    else:
        what = f"{item.field!r} is {word!r} for none of the {things}"
        counts = {
            n.removeprefix(start): c
            for n, c in seen.items()
            if n.startswith(start)
        }
        wanted = word
    return command.UserError(
        command.ExitCode.USAGE,
        f"{item}: {what}; {_hint(wanted, counts, things)} Nothing was written.",
    )
