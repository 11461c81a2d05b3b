"""Machines in machines/*.json, working and broken.

They are written by hand: after the outputs that NVIDIA's, Google's and Docker's
manuals and users' reports show, with the log lines that TensorFlow 2.15.1 wrote
when such a libcuda and such libraries were put before it.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from efficientdet_aimmo.diagnosis import asking, facts

FOLDER = pathlib.Path(__file__).with_name("machines")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def content(name: str) -> Any:
    """Returns a machine as it is in its file."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def machine(name: str) -> facts.Facts:
    """Returns a machine."""
    return facts.from_json(content(name))


class Programs:
    """Programs that answer what they are told to.

    A command is looked up by its first word and the words that `told` has.
    """

    def __init__(self, told: dict[tuple[str, ...], asking.Answer]) -> None:
        self._told = told
        self.asked: list[list[str]] = []

    def __call__(self, command: Any) -> asking.Answer:
        words = [pathlib.Path(word).name for word in command]
        self.asked.append(words)
        for key, answer in self._told.items():
            if words[0] == key[0] and all(
                any(part in word for word in words) for part in key[1:]
            ):
                return answer
        return asking.Answer(None, "", "")
