"""Where state dicts of PyTorch keep the variables, and in which layout."""

from __future__ import annotations

import collections
import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrecord_tools import command


class Layout(enum.Enum):
    """How an array lies in a state dict: its axes there."""

    VECTOR = "[channels]"
    KERNEL = "[out, in, height, width]"
    DEPTHWISE = "[channels, 1, height, width]"
    ELEMENT = "[inputs]"  # a variable is one number of it


class Place(NamedTuple):
    """Where a state dict keeps a variable.

    Attributes:
      key: in the state dict.
      layout: of the array there.
      element: of the variable's number, read where layout is ELEMENT.
    """

    key: str
    layout: Layout
    element: int


# A pattern of official names without their last part, and the key's template.
Module = tuple[re.Pattern[str], str]

_LEAVES = {
    "kernel": ("weight", Layout.KERNEL),
    "pointwise_kernel": ("weight", Layout.KERNEL),
    "depthwise_kernel": ("weight", Layout.DEPTHWISE),
    "bias": ("bias", Layout.VECTOR),
    "gamma": ("weight", Layout.VECTOR),
    "beta": ("bias", Layout.VECTOR),
    "moving_mean": ("running_mean", Layout.VECTOR),
    "moving_variance": ("running_var", Layout.VECTOR),
}
_FUSION = re.compile(r"WSM(?:_(\d+))?")
_LEVEL = re.compile(r"class_net/class-0-bn-(\d+)/gamma")

# From the state dict's axes to the official ones, and back.
_TO_OFFICIAL = {
    Layout.KERNEL: (2, 3, 1, 0),
    Layout.DEPTHWISE: (2, 3, 0, 1),
}
_FROM_OFFICIAL = {
    Layout.KERNEL: (3, 2, 0, 1),
    Layout.DEPTHWISE: (2, 3, 0, 1),
}


def compile_modules(modules: Iterable[tuple[str, str]]) -> tuple[Module, ...]:
    """Returns patterns and templates, ready for `find_place`."""
    return tuple((re.compile(p), template) for p, template in modules)


def levels(names: Iterable[str]) -> list[int]:
    """Returns the pyramid's levels, finest first: each has its own norms."""
    matches = (_LEVEL.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in matches if match)


def find_place(
    name: str,
    modules: Sequence[Module],
    describe: Callable[[Mapping[str, str]], Mapping[str, object] | None],
) -> Place | None:
    """Returns where a variable is kept; None where it has no counterpart.

    Args:
      name: official, without ':0'.
      modules: patterns and templates; the template's fields are the pattern's
        groups, `leaf`, `half` (of a separable convolution) and what describe
        adds.
      describe: what follows from the pattern's groups; None if nothing does.
    """
    module, _, leaf = name.rpartition("/")
    fusion = _FUSION.fullmatch(leaf)
    if fusion is None and leaf not in _LEAVES:
        return None
    for pattern, template in modules:
        match = pattern.fullmatch(module)
        if match is None:
            continue
        fields = describe(match.groupdict())
        if fields is None:
            return None
        if fusion is not None:
            key = template.format(**fields)
            return Place(key, Layout.ELEMENT, int(fusion[1] or 0))
        half = "depthwise" if leaf == "depthwise_kernel" else "pointwise"
        last, layout = _LEAVES[leaf]
        key = template.format(**fields, leaf=last, half=half)
        return Place(key, layout, 0)
    return None


def _fault(key: str, shape: tuple[int, ...], expected: str) -> Exception:
    return command.UserError(
        command.ExitCode.DATA,
        f"Weight {key!r} has the shape {shape}, expected {expected}: the file"
        " is of another network, or damaged.",
    )


def _check(key: str, array: np.ndarray, layout: Layout, inputs: int) -> None:
    if layout is Layout.ELEMENT:
        if array.shape != (inputs,):
            raise _fault(key, array.shape, f"({inputs},), one per input")
        return
    fits = array.ndim == layout.value.count(",") + 1
    if layout is Layout.DEPTHWISE:
        fits = fits and array.shape[1] == 1
    if not fits:
        raise _fault(key, array.shape, layout.value)


def take(
    state: Mapping[str, np.ndarray], places: Mapping[str, Place]
) -> dict[str, np.ndarray]:
    """Returns the variables that the state dict has, in official layout.

    Raises:
      UserError: an array has not the axes that its layout says.
    """
    counts = collections.Counter(place.key for place in places.values())
    values = {}
    for name, (key, layout, element) in places.items():
        if key not in state:
            continue
        array = state[key]
        _check(key, array, layout, counts[key])
        if layout is Layout.ELEMENT:
            values[name] = np.array(array[element])
        elif layout is Layout.VECTOR:
            values[name] = array
        else:
            axes = _TO_OFFICIAL[layout]
            values[name] = np.ascontiguousarray(array.transpose(axes))
    return values


def put(
    values: Mapping[str, np.ndarray], places: Mapping[str, Place]
) -> dict[str, np.ndarray]:
    """Returns a state dict of all the variables that have a place."""
    state = {}
    elements: dict[str, dict[int, np.ndarray]] = {}
    for name, (key, layout, element) in places.items():
        if layout is Layout.ELEMENT:
            elements.setdefault(key, {})[element] = values[name]
        elif layout is Layout.VECTOR:
            state[key] = values[name]
        else:
            axes = _FROM_OFFICIAL[layout]
            state[key] = np.ascontiguousarray(values[name].transpose(axes))
    for key, numbers in elements.items():
        state[key] = np.stack([numbers[i] for i in range(len(numbers))])
    return state


def sort_out(
    state: Iterable[str],
    places: Iterable[Place],
    reasons: Sequence[tuple[re.Pattern[str], str]],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Returns the keys that no place takes: weights, and what is none.

    Args:
      state: all keys of the state dict.
      places: of the variables.
      reasons: patterns of keys that are no weights of the network, and why.
    """
    taken = {place.key for place in places}
    unused, left_out = [], {}
    for key in state:
        if key in taken:
            continue
        why = next((w for p, w in reasons if p.fullmatch(key)), None)
        if why is None:
            unused.append(key)
        else:
            left_out[key] = why
    return tuple(unused), left_out
