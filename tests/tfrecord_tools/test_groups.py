"""Splits by whole groups: nothing leaks, classes everywhere, folds divide."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tfrecord_tools import command, grouping, split, stratification

_CLASSES = ("car", "bus")
# Of each group: its number of images, and which classes each of them shows.
_GROUPS = st.lists(
    st.tuples(st.integers(1, 6), st.booleans(), st.booleans()),
    min_size=2,
    max_size=9,
)
_CHOICES = st.sampled_from(
    [
        {"val_fraction": 0.2},
        {"val_fraction": 0.5, "test_fraction": 0.2},
        {"test_fraction": 0.1},
        {"num_folds": 2, "fold": 1},
        {"num_folds": 3, "fold": 0, "test_fraction": 0.2},
    ]
)


def _choice(seed: int = 0, **given: Any) -> split.Choice:
    values: dict[str, Any] = {
        "train_list": None,
        "val_list": None,
        "val_fraction": None,
        "eval_on_train": False,
        "seed": seed,
        **given,
    }
    return split.Choice(**values)


def _made(
    rows: list[tuple[int, bool, bool]],
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    groups, objects = {}, {}
    for index, (size, *has) in enumerate(rows):
        for number in range(size):
            image = f"g{index}/i{number}"
            groups[image] = f"g{index}"
            objects[image] = dict(zip(_CLASSES, map(int, has), strict=True))
    return groups, objects


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(_GROUPS, _CHOICES, st.integers(0, 5))
def test_groups_stay_whole_and_all_images_are_in_one_split(
    rows: list[tuple[int, bool, bool]], given: dict[str, float], seed: int
) -> None:
    groups, objects = _made(rows)
    choice = _choice(seed, **given)
    assert choice.targets is not None
    if len(rows) < len(choice.targets):
        with pytest.raises(command.UserError) as caught:
            split.assign(choice, groups, objects)
        assert caught.value.exit_code == 65
        return
    parts = split.assign(choice, groups, objects)
    assert list(parts.splits) == list(choice.targets)
    for assignment in (parts, split.join_folds(choice, parts)):
        listed = [i for part in assignment.splits.values() for i in part]
        assert sorted(listed) == sorted(groups)
        sides: dict[str, set[str]] = {}
        for image, name in assignment.sides.items():
            sides.setdefault(groups[image], set()).add(name)
        assert all(len(names) == 1 for names in sides.values())
        assert all(assignment.splits.values())
    # The order of the files has no effect.
    images = list(groups)
    random.Random(seed).shuffle(images)
    again = split.assign(choice, {i: groups[i] for i in images}, objects)
    assert again == parts


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 3), st.integers(0, 3)),
        min_size=3,
        max_size=7,
    ),
    st.sampled_from([(0.8, 0.2), (0.7, 0.15, 0.15), (1 / 3, 1 / 3, 1 / 3)]),
)
def test_as_many_classes_in_as_many_parts_as_any_division_has(
    rows: list[tuple[int, int, int]], targets: tuple[float, ...]
) -> None:
    counts = np.array(rows)

    def lacking(parts: np.ndarray) -> int:
        """Counts a part without images as if it lacked all and more."""
        total = 0
        for part in range(len(targets)):
            inside = counts[parts == part].sum(0)
            total += 100 * (inside[0] == 0)
            total += ((inside == 0) & (counts.sum(0) > 0))[1:].sum()
        return int(total)

    found = stratification.divide(counts, targets, [1.0] * len(targets))
    best = min(
        lacking(np.array(parts))
        for parts in itertools.product(range(len(targets)), repeat=len(counts))
    )
    assert lacking(found) == best


def test_where_one_search_would_leave_a_class_out_another_does_not() -> None:
    # Each class is in two groups, 1 and 2, 0 and 4, 0 and 2: each pair has to
    # be on two sides.
    counts = np.array(
        [[4, 0, 1, 2], [6, 1, 0, 0], [1, 3, 0, 2], [5, 0, 0, 0], [6, 0, 1, 0]]
    )
    parts = stratification.divide(counts, (0.8, 0.2), (1.0, 1.0))
    for part in range(2):
        assert counts[parts == part].sum(0).all()


def test_shares_of_images_and_classes_are_near_what_was_asked() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(50, 500, 300)
    rare = sizes * (rng.random(300) < 0.08)
    counts = np.stack([sizes, sizes * rng.integers(1, 9, 300), rare], 1)
    targets = (0.7, 0.2, 0.1)
    parts = stratification.divide(counts, targets, (1.0, 1.0, 1.0))
    for part, target in enumerate(targets):
        shares = counts[parts == part].sum(0) / counts.sum(0)
        np.testing.assert_allclose(shares, target, atol=0.01)
    # Drawn by images alone, the rare class is off by more.
    alone = stratification.divide(counts[:, :1], targets, (1.0, 1.0, 1.0))
    off = [
        abs(rare[alone == part].sum() / rare.sum() - target)
        for part, target in enumerate(targets)
    ]
    assert max(off) > 0.02


def test_folds_do_not_depend_on_which_is_chosen() -> None:
    rng = np.random.default_rng(1)
    groups, objects = _made(
        [(int(rng.integers(1, 6)), i % 2 == 0, i % 5 == 0) for i in range(20)]
    )
    vals = []
    for fold in range(4):
        choice = _choice(num_folds=4, fold=fold)
        parts = split.assign(choice, groups, objects)
        joined = split.join_folds(choice, parts)
        assert joined.rule["fold"] == fold
        assert set(joined.splits) == {"train", "val"}
        vals.append(set(joined.splits["val"]))
        assert vals[-1] == set(parts.splits[f"fold{fold}"])
    assert set.union(*vals) == set(groups)
    assert sum(map(len, vals)) == len(groups)
    # Four groups have a bus, one for each fold.
    assert all(any(objects[i]["bus"] for i in val) for val in vals)


def test_test_split_is_the_same_for_all_folds() -> None:
    groups, objects = _made([(3, True, True)] * 10)
    tests = {
        split.join_folds(c, split.assign(c, groups, objects)).splits["test"]
        for c in (
            _choice(num_folds=3, fold=f, test_fraction=0.2) for f in range(3)
        )
    }
    assert len(tests) == 1
    assert len(tests.pop()) == 6


def test_seed_chooses_the_groups() -> None:
    groups, objects = _made([(3, True, False)] * 12)
    val = [
        split.assign(_choice(s, val_fraction=0.3), groups, objects).splits[
            "val"
        ]
        for s in range(4)
    ]
    assert len(set(val)) > 1


def test_data_sets_own_split() -> None:
    groups = {f"i{n}": "all" for n in range(5)}
    given = {"i0": "train", "i1": "val", "i2": "val", "i3": "test", "no": "val"}
    own = split.assign(_choice(), groups, given=given)
    assert own.splits == {
        "train": ("i0",),
        "val": ("i1", "i2"),
        "test": ("i3",),
    }
    assert own.rule == {"rule": "data_set"}
    # A flag goes before it.
    flagged = split.assign(_choice(eval_on_train=True), groups, given=given)
    assert flagged.splits == {"train": tuple(groups)}
    with pytest.raises(
        command.UserError, match="'minival'; expected train, val, test"
    ) as caught:
        split.assign(_choice(), groups, given={"i0": "minival"})
    assert caught.value.exit_code == 65


def test_regular_expression_gives_the_groups() -> None:
    images = {
        f"day{d}/cam{c}_{n}.png": "x" for d in "ab" for c in "12" for n in "34"
    }
    keys = grouping.keys(r"^(day.)/", images)
    assert keys == {image: image[:4] for image in images}
    with pytest.raises(command.UserError) as caught:
        grouping.keys(r"^(daya)/", images)
    assert caught.value.exit_code == 64
    assert "finds no group in 4 of 8 images, such as dayb/cam1_3.png," in str(
        caught.value
    )
    # A group that takes no part in the match, or nothing, is no key.
    with pytest.raises(command.UserError, match="in 8 of 8 images"):
        grouping.keys(r"day|(x)", images)
    with pytest.raises(command.UserError, match="in 8 of 8 images"):
        grouping.keys(r"(x*)", images)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_folds": 3}, "--num_folds=K and --fold=I go together"),
        ({"fold": 3}, "--num_folds=K and --fold=I go together"),
        ({"num_folds": 1, "fold": 0}, "at least 2 were expected"),
        ({"num_folds": 3, "fold": 3}, "--fold=3 is not from 0 to 2"),
        ({"num_folds": 3, "fold": -1}, "--fold=-1 is not from 0 to 2"),
        (
            {"num_folds": 3, "fold": 0, "val_fraction": 0.1},
            "--val_fraction and --num_folds each say what to validate on",
        ),
        ({"test_fraction": 1.0}, "--test_fraction=1.0 is not between 0 and 1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train"),
        (
            {"train_list": "t", "test_fraction": 0.1},
            "--train_list and --test_fraction exclude each other",
        ),
        (
            {"train_list": "t", "num_folds": 2, "fold": 0},
            "--train_list and --num_folds exclude each other",
        ),
        ({"test_list": "t"}, "--test_list needs --train_list"),
        (
            {"eval_on_train": True, "test_fraction": 0.1},
            "--eval_on_train and --test_fraction exclude each other",
        ),
        ({"group_regex": "("}, "is not a regular expression"),
        ({"group_regex": "a"}, "has 0 groups in parentheses, one was"),
        ({"group_regex": "(a)(b)"}, "has 2 groups in parentheses"),
    ],
)
def test_contradictions(given: dict[str, Any], message: str) -> None:
    with pytest.raises(command.UserError, match=re.escape(message)) as caught:
        split.check_choice(_choice(**given))
    assert caught.value.exit_code == 64
