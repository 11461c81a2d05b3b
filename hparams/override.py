"""A mapping of names to values, or text, and a Config: a new Config.

Names are flat ('learning_rate'), dotted ('optimizer.learning_rate'), nested by
section as in a YAML file, or those of the official EfficientDet.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping

from hparams import config, convert, leaf, official, official_keys

_OFFICIAL_SECTION = "nms_configs"
_SECTIONS = (*config.Config.SECTIONS, _OFFICIAL_SECTION)
_DOTTED = {found.dotted: found for found in config.LEAVES.values()}


def parse_text(text: str) -> dict[str, str]:
    """Returns the names and values in 'learning_rate=0.04,image_size=960x512'.

    Values stay text. Commas inside brackets belong to the value; quotes around
    it do not.

    Raises:
      HParamError: a part is not name=value, or a name is given twice.
    """
    parts = convert.split(text)
    if parts is None:
        raise leaf.HParamError(
            f"Hyper-parameters {text!r}: a bracket has no partner."
        )
    found: dict[str, str] = {}
    for part in parts:
        if not part.strip():
            continue
        name, equals, given = (piece.strip() for piece in part.partition("="))
        if not (equals and name):
            raise leaf.HParamError(
                f"Hyper-parameters as text are name=value,name=value, got"
                f" {part.strip()!r}."
            )
        if name in found:
            raise leaf.HParamError(
                f"Hyper-parameter {name!r} is given twice, as"
                f" {found[name]!r} and {given!r}."
            )
        found[name] = convert.unquoted(given)
    return found


def _flat(given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yields names and values with nested sections' names dotted."""
    for name, value in given.items():
        if not isinstance(name, str):
            raise leaf.HParamError(
                f"Hyper-parameters have names, got {name!r} (YAML reads words"
                " such as on and no as booleans: quote them)."
            )
        if isinstance(value, Mapping) and name in _SECTIONS:
            for inner, item in value.items():
                yield f"{name}.{inner}", item
        # 'optimizer' is both a section and one of its hyper-parameters.
        elif name in _SECTIONS and name not in config.LEAVES:
            raise leaf.HParamError(
                f"Section {name!r} is {value!r}, expected a mapping of its"
                " hyper-parameters."
            )
        else:
            yield name, value


def is_name(name: str) -> bool:
    """Returns whether a name is a hyper-parameter or section, also official."""
    known = (config.LEAVES, _DOTTED, official_keys.KEYS, _SECTIONS)
    return any(name in names for names in known)


def leaf_names(given: Mapping[str, object]) -> set[str]:
    """Returns the flat names of what a mapping gives, in any spelling."""
    return {name.rpartition(".")[2] for name, _ in _flat(given)}


def _unknown(name: str) -> leaf.HParamError:
    section, _, last = name.rpartition(".")
    known = {
        k.lower(): k for k in (*config.LEAVES, *_DOTTED, *official_keys.KEYS)
    }
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    if section and last in config.LEAVES:
        hint = f"Did you mean {config.LEAVES[last].dotted!r}?"
    elif near:
        hint = f"Did you mean {known[near[0]]!r}?"
    else:
        hint = "docs/hyper-parameters.md lists all there are."
    return leaf.HParamError(f"Unknown hyper-parameter {name!r}. {hint}")


def _resolve(name: str, given: object) -> official.Setting | None:
    """Returns the hyper-parameter a name stands for, None if none changes."""
    if name in official_keys.KEYS:
        return official.translate(name, given)
    found = config.LEAVES.get(name) or _DOTTED.get(name)
    if found is None:
        raise _unknown(name)
    return official.Setting(found, given)


def override(
    base: config.Config, given: str | Mapping[str, object]
) -> config.Config:
    """Returns base with some values replaced.

    Args:
      base: what is not given stays as it is here.
      given: 'name=value,name=value', or a mapping as a YAML file holds it:
        flat, dotted or nested names; values may be text.

    Raises:
      HParamError: a name is unknown or given twice, a value has the wrong type
        or is out of range, or an official key is not supported at its value.
    """
    entries = parse_text(given) if isinstance(given, str) else given
    chosen: dict[str, dict[str, typing.Any]] = {}
    names: dict[str, str] = {}
    for name, value in _flat(entries):
        setting = _resolve(name, value)
        if setting is None:
            continue
        found = setting.leaf
        if found.name in names:
            raise leaf.HParamError(
                f"Hyper-parameter {found.name!r} is given twice, as"
                f" {names[found.name]!r} and {name!r}."
            )
        names[found.name] = name
        section = chosen.setdefault(found.section, {})
        section[found.name] = convert.of_leaf(found, setting.value)
    # One replacement per section: its values are checked together.
    sections = {
        name: dataclasses.replace(getattr(base, name), **values)
        for name, values in chosen.items()
    }
    return dataclasses.replace(base, **sections)
