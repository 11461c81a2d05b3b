"""Counts what goes in and what becomes of it; the two must be equal."""

from __future__ import annotations

import collections
from typing import Any

MAX_EXAMPLES = 20


class Account:
    """The account of one kind of thing: images or objects."""

    def __init__(self) -> None:
        self.num_in = 0
        self.written = 0
        self.filtered: collections.Counter[str] = collections.Counter()
        self.rejected: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, list[dict[str, str]]] = {}

    @property
    def num_rejected(self) -> int:
        """Number of things with a fault."""
        return sum(self.rejected.values())

    def reject(self, reason: str, example: dict[str, str]) -> None:
        """Counts one fault and keeps it as an example, if there are few."""
        self.rejected[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(example)

    def add(self, other: Account) -> None:
        """Adds the counts of another account, and its examples behind these."""
        self.num_in += other.num_in
        self.written += other.written
        self.filtered.update(other.filtered)
        self.rejected.update(other.rejected)
        for reason, examples in other.examples.items():
            mine = self.examples.setdefault(reason, [])
            mine += examples[: MAX_EXAMPLES - len(mine)]

    def check(self, what: str) -> None:
        """Raises AssertionError if the account does not add up."""
        filtered = sum(self.filtered.values())
        out = self.written + filtered + self.num_rejected
        if self.num_in != out:
            raise AssertionError(
                f"The account of {what} does not add up: {self.num_in} in,"
                f" {self.written} written + {filtered} filtered +"
                f" {self.num_rejected} rejected = {out}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts as they stand in the manifest."""
        return {
            "in": self.num_in,
            "written": self.written,
            "filtered": dict(sorted(self.filtered.items())),
            "rejected": dict(sorted(self.rejected.items())),
        }

    def to_json(self) -> dict[str, Any]:
        """Returns all of it, for from_json."""
        return {**self.as_dict(), "examples": self.examples}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Account:
        """Returns the account that to_json was called on."""
        account = cls()
        account.num_in = values["in"]
        account.written = values["written"]
        account.filtered.update(values["filtered"])
        account.rejected.update(values["rejected"])
        account.examples.update(values["examples"])
        return account
