"""Which configurations and batch sizes are measured, and in which order."""

from __future__ import annotations

import pytest

from efficientdet_aimmo.benching import asking, cases

DOUBLED = cases.Batches(sizes=(), first=4, most=64)


def _tried(batches: cases.Batches, most_that_fits: int) -> list[int]:
    sweep = cases.Sweep(batches)
    tried = []
    while (size := sweep.next()) is not None:
        tried.append(size)
        sweep.tell(size <= most_that_fits)
    return tried


@pytest.mark.parametrize(
    ("fits", "tried"),
    [
        (1000, [4, 8, 16, 32, 64]),  # to the most that is asked for
        (20, [4, 8, 16, 32]),
        (4, [4, 8]),
        (3, [4, 2]),  # 4 is known not to fit
        (1, [4, 2, 1]),
        (0, [4, 2, 1]),
    ],
)
def test_doubles_to_the_end_of_memory(fits: int, tried: list[int]) -> None:
    assert _tried(DOUBLED, fits) == tried


def test_sizes_that_are_given_come_from_the_least_on() -> None:
    given = cases.Batches(sizes=(8, 2, 4), first=1, most=1)
    assert _tried(given, 100) == [2, 4, 8]
    sweep = cases.Sweep(given)
    sweep.tell(True)
    assert sweep.left() == [4, 8]


def test_what_is_nearest_to_the_first_of_each_comes_first() -> None:
    found = cases.in_order(
        "train", ["d0", "d1"], ["f16", "f32"], [False, True], {}, DOUBLED
    )
    assert [str(case) for case in found] == [
        "d0 f16",
        "d0 f16 XLA",
        "d0 f32",
        "d1 f16",
        "d0 f32 XLA",
        "d1 f16 XLA",
        "d1 f32",
        "d1 f32 XLA",
    ]


def _request(verb: str) -> asking.Request:
    return asking.Request(
        verb=verb,
        model_names=None,
        precisions=None,
        xla=None,
        batch_sizes=[],
        hparams={},
    )


def test_a_gpu_is_asked_for_more_than_a_cpu() -> None:
    many = asking.cases_of(_request("train"), has_gpu=True)
    few = asking.cases_of(_request("train"), has_gpu=False)
    assert len(many) == 5 * 2 * 2
    assert str(many[0]) == "efficientdet-d0 float16"
    assert [str(case) for case in few] == ["efficientdet-d0 float32"]
    assert many[0].batches.most >= 1024
    assert few[0].batches.most == 4
    assert asking.left_by_default(_request("train"), True) == []


def test_what_a_cpu_is_not_asked_for_is_named() -> None:
    left = asking.left_by_default(_request("train"), False)
    assert [found.what for found in left] == [
        "efficientdet-d1 to d4",
        "batches above 4",
        "float16",
        "steps compiled by XLA",
    ]
    left = asking.left_by_default(_request("infer"), False)
    assert len(left) == 2
    assert asking.left_by_default(_request("input"), False) == []


@pytest.mark.parametrize("verb", ["infer", "input"])
def test_precision_and_xla_are_of_training(verb: str) -> None:
    found = asking.cases_of(_request(verb), has_gpu=True)
    assert len(found) == 5
    assert {(case.precision, case.use_xla) for case in found} == {("", False)}
    assert found[0].batches.sizes == ((8,) if verb == "input" else ())
