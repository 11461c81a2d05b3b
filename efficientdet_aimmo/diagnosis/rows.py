"""What a judgement consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["ok", "warning", "broken"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was looked at.

    Attributes:
      what: its name.
      found: what there is.
      needed: what there should be.
      verdict: ok, warning (it works, but), or broken.
      what_to_do: a sentence or two; "" if all is well.
      is_gpu: whether computing on the CPU does without it.
    """

    what: str
    found: str
    needed: str
    verdict: Verdict
    what_to_do: str
    is_gpu: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """All rows.

    Attributes:
      rows: in the order in which things depend on each other.
      not_judged: what a broken row keeps from being looked at.
    """

    rows: tuple[Row, ...]
    not_judged: tuple[str, ...]

    def broken(self, *, allow_cpu: bool) -> tuple[Row, ...]:
        """Returns the rows that keep a training from running.

        Args:
          allow_cpu: whether it may compute on the CPU.
        """
        return tuple(
            row
            for row in self.rows
            if row.verdict == "broken" and not (allow_cpu and row.is_gpu)
        )

    def warnings(self) -> tuple[Row, ...]:
        """Returns the rows that are worth a look."""
        return tuple(row for row in self.rows if row.verdict == "warning")


def good(what: str, found: str, needed: str, *, is_gpu: bool = True) -> Row:
    """Returns a row in which all is well."""
    return Row(
        what=what,
        found=found,
        needed=needed,
        verdict="ok",
        what_to_do="",
        is_gpu=is_gpu,
    )


def bad(
    what: str,
    found: str,
    needed: str,
    what_to_do: str,
    *,
    verdict: Verdict = "broken",
    is_gpu: bool = True,
) -> Row:
    """Returns a row in which something is not well."""
    return Row(
        what=what,
        found=found,
        needed=needed,
        verdict=verdict,
        what_to_do=what_to_do,
        is_gpu=is_gpu,
    )


def listed(names: Sequence[str]) -> str:
    """Returns 2 x Tesla T4, L4: equal names counted."""
    return ", ".join(
        name if names.count(name) == 1 else f"{names.count(name)} x {name}"
        for name in dict.fromkeys(names)
    )
