"""Text as people write it, on a command line or in YAML, to typed values.

YAML 1.1 reads 1e-3 as text and no as a boolean; the command line has text
alone. So text is converted by the type that the hyper-parameter declares, and
the same value means the same wherever it was written.
"""

from __future__ import annotations

import contextlib
import re
import typing
from typing import Any

from hparams import leaf

# YAML 1.1's words for booleans.
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SIZE = re.compile(r"([0-9]{1,18})x([0-9]{1,18})")
_NOTHING = ("", "none", "null", "~")


def is_nothing(value: object) -> bool:
    """Returns whether value says "not set": None, or a word for it."""
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    return value is None


def integer(value: object) -> int | None:
    """Returns an integer, or text that is one, as an integer; else None."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if type(value) is int else None


def unquoted(text: str) -> str:
    """Returns text without the spaces and the quotes around it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def split(text: str) -> list[str] | None:
    """Returns the parts of text between commas outside of brackets.

    None if a bracket has no partner.
    """
    parts = []
    depth = start = 0
    for i, letter in enumerate(text):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif letter == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return None if depth else [*parts, text[start:]]


def items(text: str) -> list[str] | None:
    """Returns the items of '[a, b]', '(a, b)' or 'a*b'; None if no list.

    An item may be a list itself: '[(1, 2), (3, 4)]' has two.
    """
    for opening, closing in ("[]", "()"):
        if text.startswith(opening) and text.endswith(closing):
            inner = text[1:-1].strip().removesuffix(",")
            parts = split(inner)
            if parts is not None:  # else '(1, 2)*(3, 4)'
                return [unquoted(item) for item in parts if inner]
    if "*" in text:
        return [unquoted(item) for item in text.split("*")]
    return None


def _scalar(text: str, hint: Any) -> object:
    if hint is bool and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if hint is int and _INTEGER.fullmatch(text):
        return int(text)
    if hint is float and _NUMBER.fullmatch(text):
        return float(text)
    if hint is str:
        return text
    raise TypeError


def _tuple(given: object, hint: Any) -> object:
    kinds = typing.get_args(hint)
    found = items(given.strip()) if isinstance(given, str) else given
    if not isinstance(found, (list, tuple)):
        # One value for all places, as the official lite networks write it.
        found = [given] * (1 if kinds[-1] is Ellipsis else len(kinds))
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(found)
    if len(kinds) != len(found):
        raise TypeError
    return tuple(value(i, k) for i, k in zip(found, kinds, strict=True))


def value(given: object, hint: Any) -> object:
    """Returns what was given as a value of a type.

    Text is converted; a list may be '[1, 2]' or '1*2', and a value that is no
    list fills a list of fixed length. Anything else must have the type already.
    Of several types the first that fits is taken.

    Raises:
      TypeError: it cannot be one.
    """
    if leaf.is_union(hint):
        for kind in typing.get_args(hint):
            with contextlib.suppress(TypeError):
                return value(given, kind)
        raise TypeError
    if typing.get_origin(hint) is tuple:
        return _tuple(given, hint)
    if isinstance(given, str):
        return _scalar(given.strip(), hint)
    return leaf.typed(given, hint)


def image_size(given: object) -> object:
    """Returns (height, width) of '960x512' (width first), 512 or [512, 960].

    Raises:
      TypeError: it is none of these.
    """
    if isinstance(given, str):
        size = _SIZE.fullmatch(given.strip())
        if size:
            return int(size[2]), int(size[1])
        if "*" in given:
            # Which of the two were the height?
            raise TypeError
    return value(given, tuple[int, int])


def of_leaf(found: leaf.Leaf, given: object) -> object:
    """Returns what was given for a hyper-parameter in its declared type.

    Raises:
      HParamError: it cannot be converted.
    """
    if given is False and "off" in (found.limits.choices or ()):
        return "off"  # YAML's reading of the word
    try:
        if found.name == "image_size":
            return image_size(given)
        return value(given, found.hint)
    except (TypeError, OverflowError):
        expected = leaf.type_name(found.hint)
        if found.name == "image_size":
            expected = "WIDTHxHEIGHT, one number or [height, width]"
        raise leaf.fault(found.name, given, expected) from None
