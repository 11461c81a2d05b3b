"""Asks programs, and lives with those that are missing or do not answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

# On a broken driver nvidia-smi hangs. Importing TensorFlow for the first time
# after a start took a minute on two busy cores.
_PATIENCE_S = 180


class Answer(NamedTuple):
    """What a program gave.

    Attributes:
      code: its exit code, below 0 if a signal ended it; None if there is no
        such program.
      output: its standard output.
      errors: its standard error.
    """

    code: int | None
    output: str
    errors: str

    def fault(self) -> str:
        """Returns on one line what it said, "" if it succeeded."""
        if self.code == 0:
            return ""
        said = " ".join(f"{self.output}\n{self.errors}".split())
        return said or f"it ended with {self.code}, without a word"


Ask = Callable[[Sequence[str]], Answer]


def ask(command: Sequence[str]) -> Answer:
    """Runs a program and returns what it gave."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError):
        return Answer(None, "", "")
    except subprocess.TimeoutExpired:
        return Answer(1, "", f"no answer within {_PATIENCE_S} s")
    return Answer(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
