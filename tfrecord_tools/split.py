"""Decides which image goes into which split."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecord_tools import command, grouping, split_lists

TRAIN = "train"
VAL = "val"
TEST = "test"
NAMES = (TRAIN, VAL, TEST)
_FOLD = "fold"
# Training without a class is worse than not measuring it.
_PRIORITIES = {TRAIN: 4.0, VAL: 2.0, TEST: 1.0}
_MAX_EXAMPLES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What the flags say about the split; at most one rule is given.

    `fold` counts from 0; `group_regex` has one group, which is the key of the
    images that stay together.
    """

    train_list: str | None
    val_list: str | None
    val_fraction: float | None
    eval_on_train: bool
    seed: int
    test_list: str | None = None
    test_fraction: float | None = None
    num_folds: int | None = None
    fold: int | None = None
    group_regex: str | None = None

    @property
    def lists(self) -> dict[str, str]:
        """The list file of each split that has one."""
        paths = (self.train_list, self.val_list, self.test_list)
        return {n: p for n, p in zip(NAMES, paths, strict=True) if p}

    @property
    def is_by_group(self) -> bool:
        """Whether images are divided here, and not by a list."""
        return self.targets is not None

    @property
    def targets(self) -> dict[str, float] | None:
        """The share asked for each part, or None where nothing is divided."""
        test = self.test_fraction or 0.0
        end = {} if self.test_fraction is None else {TEST: test}
        if self.num_folds is not None:
            share = (1 - test) / self.num_folds
            folds = {f"{_FOLD}{i}": share for i in range(self.num_folds)}
            return {**folds, **end}
        if self.val_fraction is not None:
            val = self.val_fraction
            return {TRAIN: 1 - val - test, VAL: val, **end}
        return {TRAIN: 1 - test, **end} if end else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """The images of each split, sorted, and the rule for the manifest.

    With eval_on_train, "val" is not among the splits: it is a copy of "train".
    Before `join_folds` the folds stand in place of "train" and "val".
    """

    splits: dict[str, tuple[str, ...]]
    rule: dict[str, Any]

    @property
    def images(self) -> set[str]:
        """The images of all splits."""
        return {image for part in self.splits.values() for image in part}

    @property
    def sides(self) -> dict[str, str]:
        """The split of each image."""
        return {i: name for name, part in self.splits.items() for i in part}

    def only(self, images: set[str]) -> Assignment:
        """Returns the assignment without all other images."""
        splits = {
            name: tuple(i for i in part if i in images)
            for name, part in self.splits.items()
        }
        return dataclasses.replace(self, splits=splits)


def check_choice(choice: Choice) -> None:
    """Checks that the flags do not contradict each other.

    Raises:
      command.UserError: they do.
    """
    given = {
        "--val_list": choice.val_list is not None,
        "--val_fraction": choice.val_fraction is not None,
        "--num_folds": choice.num_folds is not None,
        "--eval_on_train": choice.eval_on_train,
    }
    rules = [name for name, is_given in given.items() if is_given]
    message = _fraction_fault(choice) or _fold_fault(choice)
    if len(rules) > 1:
        message = (
            f"{' and '.join(rules)} each say what to validate on. Give one."
        )
    elif choice.train_list is None and choice.lists:
        name = next(iter(choice.lists))
        message = f"--{name}_list needs --train_list: which images to train on."
    elif choice.train_list is not None and choice.is_by_group:
        rules = [*rules, *["--test_fraction"] * bool(choice.test_fraction)]
        message = f"--train_list and {rules[0]} exclude each other."
    elif choice.eval_on_train and choice.test_fraction is not None:
        message = "--eval_on_train and --test_fraction exclude each other."
    if not message and choice.group_regex is not None:
        message = grouping.regex_fault(choice.group_regex)
    if message:
        raise command.UserError(command.ExitCode.USAGE, message)


def _fraction_fault(choice: Choice) -> str:
    val, test = choice.val_fraction, choice.test_fraction
    for flag, value in (("val", val), ("test", test)):
        if value is not None and not 0 < value < 1:
            return f"--{flag}_fraction={value} is not between 0 and 1."
    if val is not None and test is not None and val + test >= 1:
        return (
            f"--val_fraction={val} and --test_fraction={test} leave nothing"
            " to train on: together they must be less than 1."
        )
    return ""


def _fold_fault(choice: Choice) -> str:
    num_folds, fold = choice.num_folds, choice.fold
    if (num_folds is None) != (fold is None):
        return (
            "--num_folds=K and --fold=I go together: fold I, from 0 to K-1, is"
            " validated on, the others are trained on."
        )
    if num_folds is None or fold is None:
        return ""
    if num_folds < 2:
        return f"--num_folds={num_folds}: at least 2 were expected."
    if not 0 <= fold < num_folds:
        return f"--fold={fold} is not from 0 to {num_folds - 1} (--num_folds)."
    return ""


def assign(
    choice: Choice,
    groups: Mapping[str, str],
    objects: Mapping[str, Mapping[str, int]] | None = None,
    given: Mapping[str, str] | None = None,
) -> Assignment:
    """Returns the splits, or the folds; every image in it is one of `groups`.

    Args:
      choice: the rule.
      groups: what each image stays together with, by the image's path.
      objects: number of objects per class name of each image; each split gets
        its share of each class as far as whole groups allow.
      given: the split that the data set itself has for an image; counts where
        the choice has no rule.

    Raises:
      command.UserError: a list cannot be read or is ambiguous, an image is in
        two lists, there are too few groups, or a split would be empty.
    """
    targets = choice.targets
    if choice.lists:
        splits, absent = split_lists.read(choice.lists, groups)
        rule: dict[str, Any] = {
            "rule": "lists",
            "listed_but_not_usable": {
                name: {"count": len(names), "examples": names[:_MAX_EXAMPLES]}
                for name, names in absent.items()
            },
        }
    elif targets is not None:
        splits, rule = _by_group(choice, targets, groups, objects or {})
    elif given is not None and not choice.eval_on_train:
        splits, rule = _as_given(groups, given), {"rule": "data_set"}
    else:
        splits, rule = {TRAIN: tuple(sorted(groups))}, {"rule": "all_train"}
    if choice.eval_on_train:
        rule = {**rule, "eval_on_train": True}
    return Assignment(splits=splits, rule=rule)


def check_filled(assignment: Assignment, num_usable: int) -> None:
    """Checks that each split has an image.

    Raises:
      command.UserError: one has none.
    """
    for name, members in assignment.splits.items():
        if not members:
            raise command.UserError(
                command.ExitCode.DATA,
                f"Split {name!r} would have no image (rule"
                f" {assignment.rule['rule']!r}, {num_usable} usable images)."
                " Check the folder, the lists and the filters.",
            )


def _as_given(
    groups: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Returns the data set's own splits."""
    names = {given[image] for image in groups if image in given}
    for name in sorted(names - set(NAMES)):
        raise command.UserError(
            command.ExitCode.DATA,
            f"The data set has a split {name!r}; expected {', '.join(NAMES)}."
            " Give --train_list and --val_list, or --val_fraction.",
        )
    return {
        name: tuple(sorted(i for i in groups if given.get(i) == name))
        for name in NAMES
        if name in names or name == TRAIN
    }


def _by_group(
    choice: Choice,
    targets: Mapping[str, float],
    groups: Mapping[str, str],
    objects: Mapping[str, Mapping[str, int]],
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    what = "drive" if choice.group_regex is None else "group"
    priorities = {name: _PRIORITIES.get(name, 1.0) for name in targets}
    sides = grouping.divide(
        targets, priorities, groups, objects, choice.seed, what
    )
    splits = {
        name: tuple(sorted(i for i, g in groups.items() if sides[g] == name))
        for name in targets
    }
    rule: dict[str, Any] = {
        "rule": "folds" if choice.num_folds else "fractions",
        "grouped_by": choice.group_regex or "drive",
        "seed": choice.seed,
    }
    if choice.num_folds:
        rule |= {"num_folds": choice.num_folds, "fold": choice.fold}
    return splits, rule


def join_folds(choice: Choice, assignment: Assignment) -> Assignment:
    """Returns the assignment with the chosen fold as val, the rest as train."""
    if choice.num_folds is None:
        return assignment
    val = f"{_FOLD}{choice.fold}"
    splits = {
        TRAIN: tuple(
            sorted(
                image
                for name, part in assignment.splits.items()
                if name not in (val, TEST)
                for image in part
            )
        ),
        VAL: assignment.splits[val],
    }
    if TEST in assignment.splits:
        splits[TEST] = assignment.splits[TEST]
    return dataclasses.replace(assignment, splits=splits)


def shuffled(paths: Sequence[str], seed: int) -> list[str]:
    """Returns the images in an order that follows from their names and seed.

    So each shard is a fair sample of all drives.
    """
    return sorted(
        paths, key=lambda p: hashlib.sha256(f"{seed}:{p}".encode()).digest()
    )
