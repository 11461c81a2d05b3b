"""Reads JSON from files that cannot be trusted to hold what they should."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from typing import Any

from tfrecord_tools import annotation


def load(
    content: bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> dict[str, Any]:
    """Returns the object that a file's content is.

    Args:
      content: the file's bytes, UTF-8 with or without a byte order mark.
      hook: makes each object from its keys and values; None keeps them all.

    Raises:
      annotation.AnnotationFault: the content is no JSON, or no object.
    """
    try:
        top = json.loads(content.decode("utf-8-sig"), object_pairs_hook=hook)
    except RecursionError as error:
        raise annotation.AnnotationFault(
            "not_json", "lists or objects are nested too deeply"
        ) from error
    except ValueError as error:  # also bytes that are not UTF-8
        raise annotation.AnnotationFault("not_json", str(error)) from error
    if not isinstance(top, dict):
        raise annotation.AnnotationFault(
            "not_an_annotation", f"an object was expected, this is {kind(top)}"
        )
    return top


def kind(value: Any) -> str:
    """Returns what sort of JSON value this is, for messages."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names[type(value)]


def is_text(value: Any) -> typing.TypeGuard[str]:
    """Tells whether value is text that can be written anywhere."""
    if not isinstance(value, str) or not value:
        return False
    # JSON can spell half a surrogate pair, which no file can hold.
    return not any("\ud800" <= c <= "\udfff" or c == "\0" for c in value)


def is_number(value: Any) -> typing.TypeGuard[int | float]:
    """Tells whether value is a number; true and false are none."""
    return type(value) in (int, float)


def is_side(value: Any) -> typing.TypeGuard[int]:
    """Tells whether value is a whole number above 0, as a side in pixels."""
    return type(value) is int and value > 0


def optional_text(top: dict[str, Any], key: str) -> str | None:
    """Returns the text under a key; None where it is absent or null.

    Raises:
      annotation.AnnotationFault: there is something else.
    """
    value = top.get(key)
    if value is None:
        return None
    if not is_text(value):
        raise annotation.AnnotationFault(
            f"{key}_not_text",
            f"{key!r} is {annotation.quoted(value)}, text was expected",
        )
    return str(value)


def fields(record: dict[str, Any]) -> dict[str, str]:
    """Returns what a record says in single values, as text as in the file."""
    return {
        key: json.dumps(value) if isinstance(value, bool) else str(value)
        for key, value in record.items()
        if isinstance(value, (str, int, float)) and is_text(key)
    }


def flag(item: dict[str, Any], key: str) -> bool:
    """Tells whether a whole number is above 0; absent and null are 0.

    Raises:
      annotation.ObjectFault: there is something else.
    """
    value = item.get(key)
    if value is None:
        return False
    if not isinstance(value, int):
        raise annotation.ObjectFault(
            f"{key}_not_a_number",
            f"{key!r} is {annotation.quoted(value)}, a whole number was"
            " expected",
        )
    return value > 0
