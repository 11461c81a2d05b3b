"""What is measured while there is time, with a clock that stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from efficientdet_aimmo.benching import cases, sweep

BATCHES = cases.Batches(sizes=(), first=1, most=1024)


def _case(name: str, batches: cases.Batches = BATCHES) -> cases.Case:
    return cases.Case(
        verb="train",
        model_name=name,
        precision="float32",
        use_xla=False,
        hparams={},
        batches=batches,
    )


def _row(case: cases.Case, batch_size: int, step_s: float) -> cases.Row:
    return cases.Row(
        case=case,
        image_size=(64, 64),
        batch_size=batch_size,
        steps_s=(step_s,) * 3,
        first_s=10.0,
        peak=1,
    )


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _lines(found: sweep.Found) -> list[str]:
    return [f"{left.what}: {left.why}" for left in found.left_out]


@pytest.mark.parametrize(
    ("left", "cases_left", "needed", "share"),
    [
        (300.0, 3, 40.0, 100.0),
        (300.0, 20, 40.0, 40.0),
        (70.0, 3, 40.0, 70.0),  # the rest would not do for another
        (40.0, 3, 40.0, 40.0),
        (39.0, 3, 40.0, None),
        (200.0, 1, 40.0, 200.0),
    ],
)
def test_share_of_the_time(
    left: float, cases_left: int, needed: float, share: float | None
) -> None:
    assert sweep.share_s(left, cases_left, needed) == share


def test_steps_that_are_timed() -> None:
    assert [sweep.num_steps(s) for s in (2.0, 0.6, 0.1, 0.001, 0.0)] == [
        5,
        5,
        30,
        50,
        50,
    ]


class Machine:
    """Processes that take 30 s to a first row, and 5 s for every other."""

    def __init__(self, clock: Clock, ends: dict[str, str]) -> None:
        self.clock = clock
        self.ends = ends
        self.shares: list[float] = []

    def start(self, case: cases.Case, seconds: float) -> Iterator[sweep.Event]:
        self.shares.append(seconds)
        yield sweep.Begun(1)
        self.clock.now += 30.0
        yield _row(case, 1, 0.1)
        self.clock.now += 5.0
        yield sweep.Begun(2)
        cause = self.ends.get(case.model_name, "")
        if not cause:
            yield _row(case, 2, 0.1)
        yield sweep.Ended(cause)


def test_what_the_time_does_not_suffice_for_is_named() -> None:
    clock = Clock()
    machine = Machine(clock, {})
    said: list[str] = []
    names = ["a", "b", "c", "d"]
    found = sweep.run(
        [_case(name) for name in names],
        120.0 + sweep.RESERVE_S,
        clock,
        machine.start,
        said.append,
    )
    assert [row.case.model_name for row in found.rows] == list("aabbcc")
    # At first a guess of 40 s; then 30 s to a row, and a fifth more.
    assert machine.shares == [40.0, 36.0, 50.0]
    assert _lines(found) == [
        "d float32: the time would not have sufficed",
    ]
    assert said[0] == "a float32: for 40 s at most"


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (sweep.OUT_OF_TIME, "the time was up"),
        (
            sweep.KILLED,
            "memory: the system ended the process (signal 9)",
        ),
        ("the process ended with 1", "the process ended with 1"),
    ],
)
def test_a_process_that_is_ended_leaves_its_rows(cause: str, why: str) -> None:
    clock = Clock()
    machine = Machine(clock, {"a": cause})
    found = sweep.run(
        [_case("a"), _case("b")], 300.0, clock, machine.start, lambda _: None
    )
    assert [(r.case.model_name, r.batch_size) for r in found.rows] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
    ]
    assert _lines(found) == [f"a float32, batch 2 and more: {why}"]


def _measured(
    batches: cases.Batches, seconds: float, fits: int = 1 << 20
) -> tuple[list[tuple[int, str]], list[str]]:
    """Returns batch sizes and ends, and what was left out."""
    clock = Clock()
    case = _case("a", batches)
    sent: list[sweep.Event] = []

    def take(batch_size: int, end: float) -> cases.Row:
        assert end == 100.0 + seconds
        clock.now += 10.0
        if batch_size > fits:
            return cases.Row(
                case=case,
                image_size=(64, 64),
                batch_size=batch_size,
                end="memory ended",
            )
        return _row(case, batch_size, 0.1 * batch_size)

    sweep.measure(case, take, seconds, clock, sent.append)
    rows = [e for e in sent if isinstance(e, cases.Row)]
    begun = [e.batch_size for e in sent if isinstance(e, sweep.Begun)]
    assert begun == [row.batch_size for row in rows]
    left = [e for e in sent if isinstance(e, cases.LeftOut)]
    return (
        [(row.batch_size, row.end) for row in rows],
        [f"{e.what}: {e.why}" for e in left],
    )


def test_memory_ends_the_sweep_of_a_case() -> None:
    rows, left = _measured(BATCHES, 1e6, fits=5)
    assert rows == [(1, ""), (2, ""), (4, ""), (8, "memory ended")]
    assert left == []
    given = cases.Batches(sizes=(1, 8, 16, 32), first=1, most=1)
    rows, left = _measured(given, 1e6, fits=5)
    assert rows == [(1, ""), (8, "memory ended")]
    assert left == [
        "a float32, batch 16: memory ended at 8",
        "a float32, batch 32: memory ended at 8",
    ]


def test_a_batch_that_would_take_too_long_is_not_begun() -> None:
    # Of 1: 10 s. 2 takes 12 s for the first step, and 0.2 s for 2 + 15.
    assert sweep.next_s(10.0, 0.1, 2.0) == pytest.approx(12.0 + 17 * 0.2)
    rows, left = _measured(BATCHES, 25.0)
    assert rows == [(1, "")]
    assert left == ["a float32, batch 2: the time would not have sufficed"]
    rows, _ = _measured(BATCHES, 26.0)
    assert rows == [(1, ""), (2, "")]
