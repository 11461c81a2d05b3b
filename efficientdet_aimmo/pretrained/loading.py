"""Which weights of a file go where, and a report that hides nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.model import profile
from efficientdet_aimmo.pretrained import class_rows, source
from tfrecord_tools import command

BACKBONE, BIFPN, CLASS_HEAD, BOX_HEAD = profile.PARTS
LAST_LAYER = "class head, last layer"
PARTS = (BACKBONE, BIFPN, CLASS_HEAD, LAST_LAYER, BOX_HEAD)

# How the class head's last layer is taken over.
HEADS = ("auto", "none", "all")

_MOST_NAMES = 3


def part_of(name: str) -> str:
    """Returns the part of the network that a variable belongs to."""
    if name.startswith("class_net/class-predict/"):
        return LAST_LAYER
    return profile.part_of(name)


@dataclasses.dataclass(frozen=True)
class Part:
    """What becomes of one part's variables, by name.

    Attributes:
      loaded: taken from the file.
      new: left as they were drawn, on purpose.
      differs: in the file with another shape.
      missing: not in the file.
    """

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    differs: tuple[str, ...]
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a file's weights do to a network.

    Attributes:
      path: where they come from.
      found: what lies there.
      parts: by the names in PARTS.
      values: the new values, by the variables' names without ':0'.
      last_layer: a sentence on the class head's last layer, '' if it is simply
        loaded.
      faults: why the weights do not fit; empty if they do.
    """

    path: str
    found: source.Source
    parts: Mapping[str, Part]
    values: Mapping[str, np.ndarray]
    last_layer: str
    faults: tuple[str, ...]

    def text(self) -> str:
        """Returns the report as lines of text."""
        lines = [
            f"Weights: {self.path}",
            f"  {self.found.form}"
            + (
                "; the moving average was taken"
                if self.found.is_average
                else ""
            ),
            f"  {'part':<24}{'loaded':>8}{'new':>6}{'differs':>9}"
            f"{'missing':>9}",
        ]
        for name, part in self.parts.items():
            lines.append(
                f"  {name:<24}{len(part.loaded):>8}{len(part.new):>6}"
                f"{len(part.differs):>9}{len(part.missing):>9}"
            )
        if self.found.unused:
            lines.append(f"  unused in the file: {_some(self.found.unused)}")
        for reason in dict.fromkeys(self.found.left_out.values()):
            keys = [k for k, r in self.found.left_out.items() if r == reason]
            lines.append(f"  not weights of the network: {len(keys)} {reason}")
        lines += [f"  {note}" for note in self.found.notes]
        if self.last_layer:
            lines.append(f"  {self.last_layer}")
        return "\n".join(lines)

    def assign(self, variables: Sequence[tf.Variable]) -> None:
        """Gives the variables their new values; the others stay."""
        for variable in variables:
            value = self.values.get(_name(variable))
            if value is not None:
                variable.assign(value)


def _name(variable: tf.Variable) -> str:
    return variable.name.removesuffix(":0")


def _some(names: Sequence[str]) -> str:
    """Returns how many there are, and the first of them."""
    shown = ", ".join(names[:_MOST_NAMES])
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{len(names)} ({shown}{more})"


def plan(
    path: str,
    found: source.Source,
    variables: Sequence[tf.Variable],
    class_names: Sequence[str],
    heads: str,
) -> LoadReport:
    """Returns what the weights of a detector do to the variables.

    Args:
      path: where the weights come from, for the report.
      found: what lies there.
      variables: of the whole network; not changed.
      class_names: of the network, class 0 first.
      heads: what becomes of the class head's last layer. auto takes over the
        rows of classes with the same meaning, or the whole layer if it fits
        and the file does not name its classes; none draws it anew; all takes
        it as it is.
    """
    current = {_name(v): v for v in variables}
    last = class_rows.take_over(
        found,
        {n: v.numpy() for n, v in current.items() if part_of(n) == LAST_LAYER},
        class_names,
        heads,
    )
    values = {**found.values, **last.values}
    parts = {part: _compare(part, current, values, last.new) for part in PARTS}
    faults = [
        f"{part}: {kind} {_some(names)}"
        for part, item in parts.items()
        for kind, names in (
            ("another shape", _with_shapes(item.differs, current, values)),
            ("missing", item.missing),
        )
        if names
    ]
    if found.unused:
        faults.append(f"no variable takes {_some(found.unused)}")
    return _report(path, found, parts, values, last.sentence, faults)


def plan_backbone(
    path: str, found: source.Source, variables: Sequence[tf.Variable]
) -> LoadReport:
    """Returns what the weights of a backbone do; other parts stay new."""
    current = {_name(v): v for v in variables}
    others = tuple(n for n in current if part_of(n) != BACKBONE)
    parts = {
        part: _compare(part, current, found.values, others) for part in PARTS
    }
    item = parts[BACKBONE]
    faults = [
        f"{BACKBONE}: {kind} {_some(names)}"
        for kind, names in (
            (
                "another shape",
                _with_shapes(item.differs, current, found.values),
            ),
            ("missing", item.missing),
        )
        if names
    ]
    surplus = [n for n in found.unused if n.startswith("efficientnet-")]
    if surplus:
        faults.append(f"no variable takes {_some(surplus)}")
    return _report(path, found, parts, found.values, "", faults)


def _report(
    path: str,
    found: source.Source,
    parts: Mapping[str, Part],
    values: Mapping[str, np.ndarray],
    last_layer: str,
    faults: Sequence[str],
) -> LoadReport:
    loaded = {n for part in parts.values() for n in part.loaded}
    return LoadReport(
        path=path,
        found=found,
        parts=parts,
        values={n: v for n, v in values.items() if n in loaded},
        last_layer=last_layer,
        faults=tuple(faults),
    )


def _compare(
    part: str,
    current: Mapping[str, tf.Variable],
    values: Mapping[str, np.ndarray],
    new: Sequence[str],
) -> Part:
    names = [n for n in current if part_of(n) == part]
    there = [n for n in names if n not in new]
    fits = {
        n: values[n].shape == tuple(current[n].shape)
        for n in there
        if n in values
    }
    return Part(
        loaded=tuple(n for n, is_fit in fits.items() if is_fit),
        new=tuple(n for n in names if n in new),
        differs=tuple(n for n, is_fit in fits.items() if not is_fit),
        missing=tuple(n for n in there if n not in values),
    )


def _with_shapes(
    names: Sequence[str],
    current: Mapping[str, tf.Variable],
    values: Mapping[str, np.ndarray],
) -> list[str]:
    return [
        f"{n} {values[n].shape} for {tuple(current[n].shape)}" for n in names
    ]


def check(report: LoadReport) -> None:
    """Raises UserError if the weights do not fit in every part.

    Nothing partial passes: a network that is half random measures as a bad
    one, not as a broken one.
    """
    if not report.faults:
        return
    raise command.UserError(
        command.ExitCode.DATA,
        f"The weights in {report.path} ({report.found.form}) do not fit this"
        " network (in the file for in the network):\n  "
        + "\n  ".join(report.faults)
        + "\nGive the --model_name and settings that they were trained with.",
    )
