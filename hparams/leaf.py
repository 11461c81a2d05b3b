"""One hyper-parameter: how it is declared, and how its value is checked."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any


class HParamError(ValueError):
    """A hyper-parameter that is unknown, ill-typed or out of range."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a leaf's value must keep to, and its one line of help."""

    help: str
    at_least: float | None
    at_most: float | None
    above: float | None
    choices: tuple[str, ...] | None

    def __str__(self) -> str:
        """Returns the limits in words, '' if there are none."""
        if self.choices is not None:
            return "one of " + ", ".join(repr(c) for c in self.choices)
        parts = []
        if self.at_least is not None:
            parts.append(f"at least {self.at_least}")
        if self.above is not None:
            parts.append(f"above {self.above}")
        if self.at_most is not None:
            parts.append(f"at most {self.at_most}")
        return ", ".join(parts)

    def fault(self, value: object) -> str:
        """Returns what value should have been, or '' if it is in range.

        The items of a tuple, and of tuples in it, are checked one by one.
        """
        if isinstance(value, tuple):
            return next(filter(None, map(self.fault, value)), "")
        return self._fault_of_one(value)

    def _fault_of_one(self, value: Any) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if self.choices is not None and value not in self.choices:
            return str(self)
        if self.at_least is not None and value < self.at_least:
            return str(self)
        if self.at_most is not None and value > self.at_most:
            return str(self)
        if self.above is not None and value <= self.above:
            return str(self)
        return ""


def leaf(
    default: Any,
    text: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Returns the dataclass field of one hyper-parameter.

    Args:
      default: its value where no preset or override says otherwise.
      text: one line of help.
      at_least: least value, itself allowed.
      at_most: greatest value, itself allowed.
      above: bound that the value must exceed.
      choices: the allowed words.
    """
    limits = Limits(
        help=text,
        at_least=at_least,
        at_most=at_most,
        above=above,
        choices=choices,
    )
    return dataclasses.field(default=default, metadata={"limits": limits})


class Leaf(typing.NamedTuple):
    """A hyper-parameter as declared: where it stands, its type and limits."""

    section: str
    name: str
    hint: Any  # bool, int, float, str, tuple[x, ...], tuple[x, x] or x | y
    default: object
    limits: Limits

    @property
    def dotted(self) -> str:
        """The name with its section: 'optimizer.learning_rate'."""
        return f"{self.section}.{self.name}"


_TYPE_NAMES: Mapping[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false values"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "words"),
}


def type_name(hint: Any) -> str:
    """Returns how a leaf's type is called in messages and documents."""
    items = typing.get_args(hint)
    if is_union(hint):
        return " or ".join(map(type_name, items))
    if not items:
        return _TYPE_NAMES[hint][0]
    plural = _plural_name(items[0])
    if items[-1] is Ellipsis:
        return f"a list of {plural}"
    return f"a list of {len(items)} {plural}"


def _plural_name(hint: Any) -> str:
    items = typing.get_args(hint)
    if is_union(hint):
        return " or ".join(map(_plural_name, items))
    if len(items) == 2 and items[-1] is not Ellipsis:
        return f"pairs of {_plural_name(items[0])}"
    return _TYPE_NAMES[hint][1]


def is_union(hint: Any) -> bool:
    """Returns whether a type is one of several, written 'x | y'."""
    return isinstance(hint, types.UnionType)


def typed(value: object, hint: Any) -> object:
    """Returns value in the declared type.

    An integer is a number, a list is a tuple; nothing else is converted. Of
    several types the first that fits is taken.

    Raises:
      TypeError: the value is not of that type.
    """
    if is_union(hint):
        for kind in typing.get_args(hint):
            with contextlib.suppress(TypeError):
                return typed(value, kind)
        raise TypeError
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (tuple, list)):
            raise TypeError
        items = typing.get_args(hint)
        if items[-1] is Ellipsis:
            items = (items[0],) * len(value)
        if len(items) != len(value):
            raise TypeError
        return tuple(typed(v, t) for v, t in zip(value, items, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    # Not isinstance: True is an int, and no number.
    if type(value) is not hint:
        raise TypeError
    return value


def fault(name: str, value: object, expected: str) -> HParamError:
    """Returns the error of a value that is not what was expected."""
    return HParamError(
        f"Hyper-parameter {name!r} is {value!r}, expected {expected}."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base of all sections: checks every leaf's type and range when made."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                value = typed(value, hints[field.name])
            except TypeError:
                expected = type_name(hints[field.name])
                raise fault(field.name, value, expected) from None
            except OverflowError:  # an integer that no float can hold
                raise fault(field.name, value, "a finite number") from None
            expected = field.metadata["limits"].fault(value)
            if expected:
                raise fault(field.name, value, expected)
            object.__setattr__(self, field.name, value)
        self._check()

    def _check(self) -> None:
        """Raises HParamError if leaves do not fit one another."""


def leaves_of(section: str, kind: type[Section]) -> tuple[Leaf, ...]:
    """Returns the leaves that a section declares, in order."""
    hints = typing.get_type_hints(kind)
    return tuple(
        Leaf(section, f.name, hints[f.name], f.default, f.metadata["limits"])
        for f in dataclasses.fields(kind)
    )


def check_order(section: Section, low: str, high: str) -> None:
    """Raises HParamError if the leaf named low exceeds the one named high."""
    if getattr(section, low) > getattr(section, high):
        raise HParamError(
            f"Hyper-parameter {low!r} ({getattr(section, low)}) must not"
            f" exceed {high!r} ({getattr(section, high)})."
        )
