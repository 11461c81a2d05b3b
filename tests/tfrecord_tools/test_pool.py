from __future__ import annotations

import functools
import operator
import os

import pytest

from tfrecord_tools import accounts, command, pool, shards


def test_results_come_in_order() -> None:
    double = functools.partial(operator.mul, 2)
    for num_workers in (1, 2):
        results = pool.run_in_order(double, range(30), num_workers)
        assert list(results) == list(range(0, 60, 2))


def test_worker_that_dies_is_reported() -> None:
    with pytest.raises(
        command.UserError, match="worker process died"
    ) as caught:
        list(pool.run_in_order(os._exit, [1], 2))
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    ("num_images", "mean_bytes", "asked", "expected"),
    [
        (10, 1000, None, 1),
        (78_000, 200_000, None, 77),
        (10, 1e9, None, 10),
        (10, 1000, 4, 4),
        (3, 1000, 4, 3),
    ],
)
def test_number_of_shards(
    num_images: int, mean_bytes: float, asked: int | None, expected: int
) -> None:
    assert shards.count(num_images, mean_bytes, asked) == expected


def test_shards_of_images_are_even_runs() -> None:
    assert shards.slices(7, 3) == [0, 0, 0, 1, 1, 2, 2]


def test_account_that_does_not_add_up() -> None:
    account = accounts.Account()
    account.num_in = 3
    account.written = 1
    account.reject("why", {"file": "a"})
    with pytest.raises(AssertionError, match=r"3 in, 1 written .* = 2"):
        account.check("images")


def test_account_keeps_20_examples() -> None:
    account = accounts.Account()
    for index in range(30):
        account.reject("why", {"file": str(index)})
    assert account.rejected == {"why": 30}
    assert [e["file"] for e in account.examples["why"]] == [
        str(index) for index in range(20)
    ]
