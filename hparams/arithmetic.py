"""Numbers that are written as calculations: '[2 ** 0, 2 ** (1.0 / 3.0)]'.

Nothing is executed: the text is parsed, and numbers, + - * / **, brackets and
lists are worked out. Everything is a float, so no result grows without bound.
"""

from __future__ import annotations

import ast
import math
import operator
import typing
from collections.abc import Callable, Mapping

Value: typing.TypeAlias = "float | tuple[Value, ...]"

_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_SIGNS: Mapping[type[ast.unaryop], float] = {ast.UAdd: 1.0, ast.USub: -1.0}

# Far above what anybody writes, far below what Python's recursion bears.
_MOST_CHARACTERS = 1000
_MOST_DEPTH = 50


def read(text: str) -> Value:
    """Returns the number that text says, or a tuple for a list.

    Raises:
      ValueError: something else stands in it, it is too long or too deep, or a
        result is no finite real number. The message says which: 'has ...'.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"has {len(text)} characters, at most {_MOST_CHARACTERS} are read"
        )
    text = text.strip()
    try:
        body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"has {text!r}, which cannot be read") from None
    return _value(body, text, _MOST_DEPTH)


def _value(node: ast.expr, text: str, depth: int) -> Value:
    if depth == 0:
        raise ValueError("has calculations nested too deeply")
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(_value(item, text, depth - 1) for item in node.elts)
    return _number(node, text, depth)


def _number(node: ast.expr, text: str, depth: int) -> float:
    shown = ast.get_source_segment(text, node)
    found: object = None
    try:
        if isinstance(node, ast.Constant) and _is_real(node.value):
            found = float(node.value)
        elif isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
            number = _operand(node.operand, text, depth)
            found = _SIGNS[type(node.op)] * number
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            left = _operand(node.left, text, depth)
            right = _operand(node.right, text, depth)
            found = _OPERATIONS[type(node.op)](left, right)
        else:
            raise ValueError(f"has {shown!r}, which is no number")
    except (OverflowError, ZeroDivisionError):
        pass
    # A root of a negative number is complex.
    if not isinstance(found, float) or not math.isfinite(found):
        raise ValueError(f"has {shown!r}, which is no finite real number")
    return found


def _is_real(found: object) -> typing.TypeGuard[int | float]:
    # True is an int, and no number.
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _operand(node: ast.expr, text: str, depth: int) -> float:
    found = _value(node, text, depth - 1)
    if isinstance(found, tuple):
        shown = ast.get_source_segment(text, node)
        raise ValueError(f"calculates with {shown!r}, a list")
    return found
