from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator

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


def test_threads_give_results_in_order_and_read_no_further() -> None:
    double = functools.partial(operator.mul, 2)
    for num_threads in (1, 3):
        taken: list[int] = []

        def values(taken: list[int] = taken) -> Iterator[int]:
            for value in range(100):
                taken.append(value)
                yield value

        results = pool.run_in_threads(double, values(), num_threads)
        assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
        # Two waiting for each thread, beside those that were asked for.
        assert len(taken) <= 10 + 2 * num_threads
        assert list(results) == list(range(20, 200, 2))
