"""Numbers written as calculations: what is read, and that nothing else is."""

from __future__ import annotations

import re

import pytest

from hparams import arithmetic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3.0),
        (" -1.5e-3 ", -0.0015),
        ("+2 - 3 * 4 / 8", 0.5),
        ("2 ** 3 ** 2", 512.0),
        ("-(1 + 2) * 3", -9.0),
        ("[]", ()),
        ("[1, (2, [3,]), 4 / 2]", (1.0, (2.0, (3.0,)), 2.0)),
        ("1, 2", (1.0, 2.0)),
        (
            "[2 ** 0, 2 ** (1.0 / 3.0), 2 ** (2.0 / 3.0)]",
            (1.0, pytest.approx(1.25992105), pytest.approx(1.58740105)),
        ),
    ],
)
def test_what_is_read(text: str, expected: object) -> None:
    found = arithmetic.read(text)
    assert found == expected
    assert type(found) in (float, tuple)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9**9**9", "has '9**9**9', which is no finite real number"),
        ("1 + 1e999", "has '1e999', which is no finite real number"),
        ("9" * 400, f"has '{'9' * 400}', which is no finite real number"),
        ("1 / (2 - 2)", "has '1 / (2 - 2)', which is no finite real number"),
        ("(-8) ** 0.5", "has '(-8) ** 0.5', which is no finite real number"),
        ("[1] * 3", "calculates with '[1]', a list"),
        ("-[1]", "calculates with '[1]', a list"),
        ("7 // 2", "has '7 // 2', which is no number"),
        ("2 ^ 3", "has '2 ^ 3', which is no number"),
        ("[1, True]", "has 'True', which is no number"),
        ("'1'", "has \"'1'\", which is no number"),
        ("1j", "has '1j', which is no number"),
        ("...", "has '...', which is no number"),
        ("~1", "has '~1', which is no number"),
        ("pi", "has 'pi', which is no number"),
        ("exit()", "has 'exit()', which is no number"),
        ("(1).real", "has '(1).real', which is no number"),
        ("[x for x in [1]]", "has '[x for x in [1]]', which is no number"),
        ("[*[1]]", "has '*[1]', which is no number"),
        ("1 if 1 else 2", "has '1 if 1 else 2', which is no number"),
        ("lambda: 1", "has 'lambda: 1', which is no number"),
        ("", "has '', which cannot be read"),
        ("x = 1", "has 'x = 1', which cannot be read"),
        ("[1, 2", "has '[1, 2', which cannot be read"),
        ("1\0", "has '1\\x00', which cannot be read"),
        ("-" * 900 + "1", "has calculations nested too deeply"),
        ("+".join("1" * 400), "has calculations nested too deeply"),
        ("[" * 60 + "]" * 60, "has calculations nested too deeply"),
        ("1" * 1001, "has 1001 characters, at most 1000 are read"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        arithmetic.read(text)


def test_brackets_deeper_than_python_reads() -> None:
    with pytest.raises(ValueError, match="which cannot be read"):
        arithmetic.read("(" * 400 + "1" + ")" * 400)
