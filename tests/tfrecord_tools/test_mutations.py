"""Damaged annotation files: no error escapes, and the accounts add up."""

from __future__ import annotations

import random

import hypothesis
import pytest
from hypothesis import strategies

from tests.tfrecord_tools import damaged_files, mutations


@pytest.fixture(scope="module", params=damaged_files.FORMATS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> mutations.Place:
    root = tmp_path_factory.mktemp(request.param)
    return mutations.Place(root, request.param)


_SEEDS = strategies.randoms(use_true_random=False)


@hypothesis.settings(max_examples=470, deadline=None, database=None)
@hypothesis.given(rng=_SEEDS)
def test_accounts_add_up(place: mutations.Place, rng: random.Random) -> None:
    place.write(damaged_files.draw(place.kind, rng, place.secret))
    mutations.check_reading(place)


@hypothesis.settings(max_examples=30, deadline=None, database=None)
@hypothesis.given(rng=_SEEDS)
def test_nothing_is_written_elsewhere(
    place: mutations.Place, rng: random.Random
) -> None:
    place.write(damaged_files.draw(place.kind, rng, place.secret))
    mutations.check_command(place)


def test_damage_leaves_something_to_read(place: mutations.Place) -> None:
    """Were all files refused at once, the tests above would say little."""
    written = rejected = 0
    for seed in range(60):
        rng = random.Random(seed)
        place.write(damaged_files.draw(place.kind, rng, place.secret))
        counts = mutations.check_reading(place)
        written += counts[0]
        rejected += counts[1]
    assert written >= 20
    assert rejected >= 20
