"""From the annotations' class names to the data set's classes and their ids.

Ids are never written by hand: they follow from the order of the classes, from 1
on, as 0 means background in every tool that reads such records.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from tfrecord_tools import command

AIMMO_MAPPING: Mapping[str, str] = {
    "car": "car",
    "truck_s": "truck",
    "truck_l": "truck",
    "bus_s": "bus",
    "bus_l": "bus",
    "adult": "pedestrian",
    "child": "pedestrian",
    "specialclothes": "pedestrian",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Ordered classes, and the class each annotated name belongs to.

    `default` is the mapping of the annotations' format, whatever the classes.
    """

    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    default: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def label(self, class_name: str) -> int | None:
        """Returns the id, 1 or above; None for a name that is not mapped."""
        target = self.mapping.get(class_name)
        return None if target is None else self.classes.index(target) + 1


def make_label_map(
    classes: Sequence[str],
    class_map: Sequence[str],
    default: Mapping[str, str] = AIMMO_MAPPING,
) -> LabelMap:
    """Returns the label map that the flags describe.

    The default mapping holds as far as its targets are among the classes, a
    class's own name maps to it, and class_map goes before both.

    Args:
      classes: names in the order of their ids.
      class_map: texts "from:to".
      default: the default mapping.

    Raises:
      command.UserError: a name is empty, twice, or unknown.
    """
    check_classes(classes)
    mapping = {s: t for s, t in default.items() if t in classes}
    mapping.update({name: name for name in classes})
    explicit: dict[str, str] = {}
    for text in class_map:
        source, colon, target = text.rpartition(":")
        if not (source and colon and target):
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--class_map={text} is not of the form from:to, as in"
                " --class_map=trailer:truck.",
            )
        if target not in classes:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--class_map={text} maps to {target!r}, which is not among"
                f" --classes={','.join(classes)}.{_nearest(target, classes)}",
            )
        if explicit.setdefault(source, target) != target:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--class_map gives {source!r} two classes,"
                f" {explicit[source]!r} and {target!r}. Keep one.",
            )
    mapping.update(explicit)
    return LabelMap(classes=tuple(classes), mapping=mapping, default=default)


def data_set_classes(
    names: Sequence[str], class_map: Sequence[str]
) -> tuple[str, ...]:
    """Returns the classes that a data set's own names give, in their order.

    A name that class_map maps to another gives the other.
    """
    explicit = dict(text.rpartition(":")[::2] for text in class_map)
    return tuple(dict.fromkeys(explicit.get(name, name) for name in names))


def check_classes(classes: Sequence[str]) -> None:
    """Checks that no class is without a name or named twice.

    Raises:
      command.UserError: one is.
    """
    shown = ",".join(classes)
    if not classes or not all(classes):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--classes={shown} has an empty name; expected names separated"
            " by commas, as in --classes=car,truck,bus,pedestrian.",
        )
    for name in classes:
        if classes.count(name) > 1:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--classes={shown} names {name!r} twice. Each class has one"
                " id, so name it once.",
            )


def check_all_found(label_map: LabelMap, found: Mapping[str, int]) -> None:
    """Checks that each class has objects.

    Args:
      label_map: the classes.
      found: number of objects per class name in the annotations.

    Raises:
      command.UserError: a class has none; names the nearest that has.
    """
    present = {label_map.mapping.get(name) for name, n in found.items() if n}
    messages = [
        _missing_message(name, found, label_map.default)
        for name in label_map.classes
        if name not in present
    ]
    if messages:
        raise command.UserError(
            command.ExitCode.USAGE,
            "\n".join(messages)
            + "\nNothing was written. Correct --classes, or map names with"
            " --class_map=from:to, or give --allow_empty_classes if the class"
            " is meant to have no objects.",
        )


def _missing_message(
    name: str, found: Mapping[str, int], default: Mapping[str, str]
) -> str:
    candidates = dict(found)
    for source, target in default.items():
        if source != target and found.get(source):
            candidates[target] = candidates.get(target, 0) + found[source]
    candidates = {n: count for n, count in candidates.items() if count}
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    text = f"no annotation has class {name!r}"
    if near:
        nearest = by_lower[near[0]]
        return (
            f"{text}, did you mean {nearest!r} ({candidates[nearest]} objects)?"
        )
    listed = ", ".join(f"{n} ({c})" for n, c in sorted(candidates.items()))
    return f"{text}; the annotations have: {listed or 'no objects'}."


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
