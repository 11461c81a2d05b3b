"""Reads systemd's units, and asks systemd whether it takes them."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Sequence

import pytest


def settings(path: pathlib.Path) -> dict[str, str]:
    """Returns a unit's settings by name; no name is given twice."""
    found: dict[str, str] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            assert name not in found
            found[name] = value
    return found


def verify(paths: Sequence[pathlib.Path]) -> None:
    """Asserts that systemd takes units without a word."""
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze (package systemd) is not installed")
    done = subprocess.run(
        [verifier, "verify", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
