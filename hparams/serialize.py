"""Config to JSON and back, what differs between two, and a table to read."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from hparams import config, leaf


class Difference(typing.NamedTuple):
    """A hyper-parameter that has another value in two configs."""

    name: str  # dotted: 'optimizer.learning_rate'
    a: object
    b: object

    def __str__(self) -> str:
        last = self.name.rpartition(".")[2]
        return (
            f"{self.name}: {to_text(last, self.a)} -> {to_text(last, self.b)}"
        )


# Leaves that came after the first runs were saved, each with the value that is
# what was done before there was the leaf.
_LATER: Mapping[str, object] = {
    "bad_records": "fail",
    "bad_records_max_share": 0.01,
    "precision": "float32",
    "loss_scale_start": 2.0**15,
    "loss_scale_steps": 2000,
    "loss_scale_floor": 1.0,
    "accumulate_steps": 1,
    "sync_batch_norm_below": 16,
    "strategy": "",
    "virtual_devices": 0,
    "wait_for_workers": 600,
    "preemption_notice": "auto",
    "grad_checkpoint": False,
    "use_xla": False,
}


def _values(source: config.Config) -> Iterator[tuple[leaf.Leaf, object]]:
    for found in config.LEAVES.values():
        section = getattr(source, found.section)
        yield found, getattr(section, found.name)


def to_json(source: config.Config) -> str:
    """Returns the config as JSON text that from_json reads back exactly."""
    return json.dumps(dataclasses.asdict(source), indent=2) + "\n"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise leaf.HParamError(f"The config has {name!r} twice.")
        found[name] = value
    return found


def _check_names(where: str, given: Any, known: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise leaf.HParamError(
            f"The config's {where} is {given!r}, expected an object."
        )
    for name in given:
        if name not in known:
            raise leaf.HParamError(
                f"The config's {where} has {name!r}, which is no"
                " hyper-parameter of this version."
            )
    for name in known:
        if name not in given and name not in _LATER:
            raise leaf.HParamError(f"The config's {where} lacks {name!r}.")


def from_json(text: str) -> config.Config:
    """Returns the config that to_json wrote.

    Nothing is filled in but what came later: a config that was saved says
    everything that there was.

    Raises:
      HParamError: the text is no JSON, a name is unknown, missing or there
        twice, or a value has the wrong type or is out of range.
    """
    try:
        given = json.loads(text, object_pairs_hook=_once)
    except leaf.HParamError:
        raise  # a name that is there twice
    except ValueError as error:  # an integer of thousands of digits too
        raise leaf.HParamError(f"The config is not JSON: {error}.") from None
    except RecursionError:
        raise leaf.HParamError("The config is nested too deeply.") from None
    kinds = config.Config.SECTIONS
    _check_names("top level", given, tuple(kinds))
    sections: dict[str, Any] = {}
    for name, kind in kinds.items():
        known = tuple(f.name for f in dataclasses.fields(kind))
        _check_names(f"section {name!r}", given[name], known)
        later = {n: _LATER[n] for n in known if n in _LATER}
        sections[name] = kind(**{**later, **given[name]})
    return config.Config(**sections)


def diff(a: config.Config, b: config.Config) -> list[Difference]:
    """Returns what differs between two configs, in order of declaration."""
    return [
        Difference(found.dotted, value_a, value_b)
        for (found, value_a), (_, value_b) in zip(
            _values(a), _values(b), strict=True
        )
        if value_a != value_b
    ]


def to_text(name: str, value: object) -> str:
    """Returns a hyper-parameter's value as override reads it from text.

    Args:
      name: the flat name; image_size is written WIDTHxHEIGHT.
      value: a value of its declared type; empty text is shown by quotes.
    """
    if value == "":
        return "''"
    if name == "image_size" and isinstance(value, tuple):
        return f"{value[1]}x{value[0]}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(to_text("", item) for item in value) + "]"
    return str(value)


def describe(source: config.Config, base: config.Config | None = None) -> str:
    """Returns a table of all values: section, name, value.

    Args:
      source: what is shown.
      base: rows that differ from it are marked with *, and say its value; None
        marks nothing.
    """
    changed = {d.name: d for d in diff(base, source)} if base else {}
    width = max(map(len, config.LEAVES))
    section_width = max(map(len, config.Config.SECTIONS))
    lines = []
    last = ""
    for found, value in _values(source):
        section = found.section if found.section != last else ""
        last = found.section
        mark, was = " ", ""
        if found.dotted in changed:
            before = changed[found.dotted].a
            mark, was = "*", f"  (was {to_text(found.name, before)})"
        lines.append(
            f"{mark} {section:<{section_width}}  {found.name:<{width}}  "
            f"{to_text(found.name, value)}{was}"
        )
    return "\n".join(lines)
