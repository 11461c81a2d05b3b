"""Tests of training use a backbone of one block a stage: fewer operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from efficientdet_aimmo.model import efficientnet


@pytest.fixture(scope="module", autouse=True)
def short_backbone() -> Iterator[None]:
    """Leaves out the repeats of every stage."""
    short = tuple(
        dataclasses.replace(stage, repeats=1) for stage in efficientnet._STAGES
    )
    patch = pytest.MonkeyPatch()
    patch.setattr(efficientnet, "_STAGES", short)
    yield
    patch.undo()
