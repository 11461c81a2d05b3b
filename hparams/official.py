"""Official hyper-parameters in, ours out: values, and the label map."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from hparams import config, convert, leaf, official_keys

_MAP_HELP = (
    "Write the names in the order of their ids, [car, truck], or {1: car,"
    " 2: truck}."
)


def _names_by_id(given: Mapping[Any, object]) -> dict[object, object]:
    """Returns {id: name} of {id: name} or {name: id}; ids may be text."""
    pairs: list[tuple[object, object]] = list(given.items())
    if all(convert.integer(value) is not None for value in given.values()):
        pairs = [(number, name) for name, number in pairs]
    found: dict[object, object] = {}
    for key, name in pairs:
        number = convert.integer(key)
        if number is None:
            raise leaf.HParamError(
                f"label_map gives {name!r} the id {key!r}, expected an"
                f" integer. {_MAP_HELP}"
            )
        if number in found:
            raise leaf.HParamError(
                f"label_map gives id {number} to {found[number]!r} and"
                f" {name!r}. {_MAP_HELP}"
            )
        found[number] = name
    return found


def _ordered_names(given: object) -> list[object]:
    if isinstance(given, str):
        items = convert.items(given.strip())
        if items is None:
            raise leaf.HParamError(
                f"label_map is {given!r}: there are no built-in label maps."
                f" {_MAP_HELP}"
            )
        return list(items)
    if isinstance(given, (list, tuple)):
        return list(given)
    if not isinstance(given, Mapping):
        raise leaf.HParamError(f"label_map is {given!r}. {_MAP_HELP}")
    names = _names_by_id(given)
    if 0 in names:
        raise leaf.HParamError(
            f"label_map gives id 0 to {names[0]!r}: ids start at 1, and"
            f" background is not listed. {_MAP_HELP}"
        )
    if set(names) != set(range(1, len(names) + 1)):
        raise leaf.HParamError(
            f"label_map has the ids {list(names)}, expected 1 to {len(names)}"
            f" without gaps. {_MAP_HELP}"
        )
    return [names[i] for i in range(1, len(names) + 1)]


def checked_names(
    key: str, given: list[object] | tuple[object, ...]
) -> tuple[str, ...]:
    """Returns class names as they are given.

    Args:
      key: the setting that lists them, for messages.
      given: the names in the order of their ids.

    Raises:
      HParamError: there are none, or one is empty, given twice or no text.
    """
    names: list[str] = []
    for name in given:
        if not isinstance(name, str) or not name.strip():
            raise leaf.HParamError(
                f"{key} has the name {name!r}, expected text (YAML reads words"
                " such as on and no as booleans: quote them)."
            )
        if name in names:
            raise leaf.HParamError(f"{key} has {name!r} twice.")
        names.append(name)
    if not names:
        raise leaf.HParamError(f"{key} is empty, expected the class names.")
    return tuple(names)


def split_label_map(
    given: Mapping[str, object],
) -> tuple[dict[str, object], tuple[str, ...] | None]:
    """Returns the mapping without label_map, and the class names it lists.

    The official label_map is {1: car, 2: truck}; names in order or {car: 1}
    are read too. The names are not stored: they are checked against the data.

    Returns:
      The rest, and the names in the order of their ids, or None if label_map is
      missing or not set.

    Raises:
      HParamError: ids are not 1 to n, or names are empty, given twice or no
        text.
    """
    rest = {k: v for k, v in given.items() if k != "label_map"}
    if convert.is_nothing(given.get("label_map")):
        return rest, None
    return rest, checked_names("label_map", _ordered_names(given["label_map"]))


class Setting(typing.NamedTuple):
    """What an official key says: a value for a hyper-parameter."""

    leaf: leaf.Leaf
    value: object


def _refusal(key: str, given: object, instead: str) -> leaf.HParamError:
    return leaf.HParamError(
        f"Official hyper-parameter {key!r} cannot be {given!r} here. {instead}"
    )


def translate(key: str, given: object) -> Setting | None:
    """Returns the hyper-parameter that an official key sets.

    Args:
      key: one of official_keys.KEYS.
      given: its value, converted or text.

    Returns:
      None if the value says what is done anyway, or leaves the preset's.

    Raises:
      HParamError: the value is refused; the message says what to use.
    """
    if key in official_keys.REFUSED:
        raise leaf.HParamError(
            f"Official hyper-parameter {key!r} is not accepted here."
            f" {official_keys.REFUSED[key]}"
        )
    if key in official_keys.FIXED:
        if not official_keys.FIXED[key].accepts(given):
            raise _refusal(key, given, official_keys.FIXED[key].instead)
        return None
    if key in official_keys.MAY_BE_UNSET and convert.is_nothing(given):
        return None
    found = config.LEAVES[key.rpartition(".")[2]]
    if key in official_keys.NOT_ZERO and (
        convert.is_nothing(given) or not convert.of_leaf(found, given)
    ):
        raise _refusal(key, given, official_keys.SAME[key])
    return Setting(found, given)
