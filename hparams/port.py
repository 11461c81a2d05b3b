"""Project files of the PyTorch port, read as hyper-parameters.

The port (zylo117/Yet-Another-EfficientDet-Pytorch) keeps a data set's settings
in projects/NAME.yml. What has a meaning here is translated, what has none is
named with what to use instead, and nothing else may stand in the file.
"""

from __future__ import annotations

import decimal
import difflib
import math
import typing
from collections.abc import Callable, Mapping

from hparams import arithmetic, convert, leaf, official, override, serialize

# Keys without a meaning here: what to use instead.
UNUSED: Mapping[str, str] = {
    "project_name": "the run's folder is --model_dir",
    "train_set": "the training records are --train_file_pattern",
    "val_set": "the validation records are --val_file_pattern",
    "num_gpus": "a run uses one GPU, with --strategy=gpus all that"
    " CUDA_VISIBLE_DEVICES shows, and without any the CPU with --allow_cpu",
}

_RGB = "Their order is red, green, blue, and pixels are 0 to 1 in the port."


class Project(typing.NamedTuple):
    """What a project file says.

    Attributes:
      values: hyper-parameters by their names here.
      names: the classes, id 1 first, or None if the file lists none.
      notices: what to tell the user, a line each.
    """

    values: dict[str, object]
    names: tuple[str, ...] | None
    notices: tuple[str, ...]


def _fault(key: str, given: object, expected: str) -> leaf.HParamError:
    return leaf.HParamError(f"{key} is {given!r}, expected {expected}")


def _times_255(numbers: tuple[float, ...]) -> tuple[float, ...]:
    # In decimals, as people write them: 0.406 gives 103.53, in floats
    # 103.53000000000002, which would differ from the presets.
    return tuple(float(decimal.Decimal(repr(n)) * 255) for n in numbers)


def _three(given: object) -> tuple[float, ...] | None:
    try:
        found = convert.value(given, tuple[float, float, float])
    except (TypeError, OverflowError):
        return None
    return typing.cast("tuple[float, ...]", found)


def _mean(key: str, given: object) -> Mapping[str, object]:
    numbers = _three(given)
    if numbers is None or not all(0 <= n <= 1 for n in numbers):
        raise _fault(key, given, f"3 numbers of 0 to 1. {_RGB}")
    return {"mean_rgb": _times_255(numbers)}


def _std(key: str, given: object) -> Mapping[str, object]:
    numbers = _three(given)
    if numbers is None or not all(0 < n <= 1 for n in numbers):
        raise _fault(key, given, f"3 numbers above 0, at most 1. {_RGB}")
    return {"stddev_rgb": _times_255(numbers)}


def _worked_out(key: str, given: object) -> arithmetic.Value:
    """Returns the number or tuple that text or a list of it says."""
    if isinstance(given, str):
        try:
            return arithmetic.read(given)
        except ValueError as error:
            raise leaf.HParamError(
                f"{key} {error}, expected numbers with + - * / ** in lists, the"
                " whole in quotes."
            ) from None
    if isinstance(given, (list, tuple)):
        return tuple(_worked_out(key, item) for item in given)
    try:
        return float(typing.cast("float", leaf.typed(given, float)))
    except (TypeError, OverflowError):
        raise _fault(key, given, "numbers in lists.") from None


def _octaves(key: str, given: object) -> Mapping[str, object]:
    found = _worked_out(key, given)
    scales = found if isinstance(found, tuple) else ()
    count = len(scales)
    expected = [2 ** (i / count) for i in range(count)]
    if not scales or any(
        isinstance(a, tuple) or abs(a - b) > 1e-6
        for a, b in zip(scales, expected, strict=True)
    ):
        for_these = f" ({count}: {expected})" if scales else ""
        raise _fault(
            key,
            given,
            f"a list of 2 ** (i / n) for i from 0 to n - 1{for_these}. There"
            f" are no other scales here. Found {found}.",
        )
    return {"num_scales": count}


def _shapes(key: str, given: object) -> Mapping[str, object]:
    found = _worked_out(key, given)
    shapes = found if isinstance(found, tuple) else ()
    if not shapes or not all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(n, float) and 0 < n < math.inf for n in pair)
        for pair in shapes
    ):
        raise _fault(
            key,
            given,
            "a list of pairs of numbers above 0, [(1.0, 1.0), (1.4, 0.7)], in"
            " quotes.",
        )
    return {"aspect_ratios": shapes}


_READERS: Mapping[str, Callable[[str, object], Mapping[str, object]]] = {
    "mean": _mean,
    "std": _std,
    "anchors_scales": _octaves,
    "anchors_ratios": _shapes,
}
_NAMES = "obj_list"
KEYS: tuple[str, ...] = (*_READERS, _NAMES, *UNUSED)


def _class_names(given: object) -> tuple[str, ...]:
    found = convert.items(given.strip()) if isinstance(given, str) else given
    if not isinstance(found, (list, tuple)):
        raise _fault(_NAMES, given, "a list of the class names.")
    gaps = [i for i, name in enumerate(found, start=1) if name in ("", None)]
    if gaps:
        raise leaf.HParamError(
            f"{_NAMES} has no name at place {', '.join(map(str, gaps))}. The"
            " class ids of records have no gaps: list the records' classes and"
            " nothing between them."
        )
    return official.checked_names(_NAMES, found)


def is_project(given: Mapping[str, object]) -> bool:
    """Returns whether a file's keys are those of a project of the port."""
    return any(key in KEYS for key in given)


def _check_key(key: object, first: str) -> None:
    if key in KEYS:
        return
    if isinstance(key, str) and override.is_name(key):
        raise leaf.HParamError(
            f"{first!r} is a key of the PyTorch port's projects, {key!r} a"
            " hyper-parameter of this package: a file holds the one or the"
            " other. Give the project as it is and the others behind it:"
            f" --hparams=FILE.yml,{key}=VALUE."
        )
    near = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.6)
    hint = (
        f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(KEYS)}."
    )
    raise leaf.HParamError(
        f"A project of the PyTorch port has no key {key!r}. {hint}"
    )


def translate(given: Mapping[str, object]) -> Project:
    """Returns what a project file of the port says here.

    Args:
      given: the file's mapping, at least one key of it in KEYS.

    Raises:
      HParamError: a key is none of the port's, a value cannot be what it should
        be, or has no equal here.
    """
    first = next(key for key in given if key in KEYS)
    values: dict[str, object] = {}
    unused = []
    names = None
    for key, value in given.items():
        _check_key(key, first)
        if key in UNUSED:
            unused.append(f"{key} ({value}) is not used: {UNUSED[key]}.")
        elif key == _NAMES:
            names = _class_names(value)
        else:
            values.update(_READERS[key](key, value))
    texts = [f"{k}={serialize.to_text(k, v)}" for k, v in values.items()]
    if names is not None:
        texts.append(f"label_map={serialize.to_text('', names)}")
    read_as = f"read as {','.join(texts)}" if texts else "nothing in it is used"
    return Project(
        values,
        names,
        (f"a project file of the PyTorch port, {read_as}", *unused),
    )
