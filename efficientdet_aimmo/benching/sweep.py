"""Measures one case after the other, as far as the time goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from efficientdet_aimmo.benching import cases as cases_lib

# Of a case until its first row, before any was measured: TensorFlow starts,
# the network is made, the first step is traced.
GUESS_S = 40.0
RESERVE_S = 5.0  # to end a process and print
NUM_WARM_UP = 2  # steps after the first that are not timed
_LEAST_STEPS, _MOST_STEPS, _TIMED_S = 5, 50, 3.0
_TIME = "the time was up"
_NEVER = "the time would not have sufficed"


class Begun(NamedTuple):
    """A process says what it begins."""

    batch_size: int


class Ended(NamedTuple):
    """A process ended, or had to be ended."""

    cause: str  # empty, out of time, killed, or what it failed of


OUT_OF_TIME = "out of time"
KILLED = "killed"

Event = Begun | cases_lib.Row | cases_lib.LeftOut | Ended
Start = Callable[[cases_lib.Case, float], Iterable[Event]]


class Found(NamedTuple):
    """What was measured, and what not."""

    rows: list[cases_lib.Row]
    left_out: list[cases_lib.LeftOut]


def share_s(left_s: float, num_left: int, needed_s: float) -> float | None:
    """Returns the seconds that the next case has, None if they are too few.

    Args:
      left_s: seconds of all cases that are left.
      num_left: cases that are left, the next one included.
      needed_s: seconds that a case takes to its first row, an estimate.
    """
    if left_s < needed_s:
        return None
    share = max(needed_s, left_s / num_left)
    # What is too little for another case is this one's.
    return left_s if left_s - share < needed_s else share


def num_steps(step_s: float) -> int:
    """Returns how many steps are timed, given what one takes."""
    wanted = math.ceil(_TIMED_S / max(step_s, 1e-6))
    return min(max(wanted, _LEAST_STEPS), _MOST_STEPS)


def next_s(first_s: float, step_s: float, growth: float) -> float:
    """Returns the seconds that another batch size takes, an estimate.

    Args:
      first_s: of the first step of the last one.
      step_s: of its other steps.
      growth: the batch sizes' ratio.
    """
    step_s *= growth
    return 1.2 * first_s + step_s * (NUM_WARM_UP + num_steps(step_s))


def run(
    cases: Sequence[cases_lib.Case],
    seconds: float,
    clock: Callable[[], float],
    start: Start,
    say: Callable[[str], None],
) -> Found:
    """Measures cases until the time is up.

    Args:
      cases: in the order of their importance.
      seconds: for all of them.
      clock: returns a time in seconds.
      start: measures a case in a process, for so many seconds at most.
      say: takes a line on what is going on.

    Returns:
      Rows, and everything else that was asked for.
    """
    found = Found([], [])
    end, needed_s = clock() + seconds - RESERVE_S, GUESS_S
    for place, case in enumerate(cases):
        begin = clock()
        own_s = share_s(end - begin, len(cases) - place, needed_s)
        if own_s is None:
            found.left_out.append(cases_lib.LeftOut(what=str(case), why=_NEVER))
            continue
        say(f"{case}: for {own_s:.0f} s at most")
        first_s = _run_case(case, start(case, own_s), clock, found)
        if first_s is not None:
            needed_s = 1.2 * (first_s - begin)
    return found


def _run_case(
    case: cases_lib.Case,
    events: Iterable[Event],
    clock: Callable[[], float],
    found: Found,
) -> float | None:
    """Adds what a case gives; returns when its first row was there."""
    first_s, begun, cause = None, None, ""
    for event in events:
        if isinstance(event, cases_lib.Row):
            found.rows.append(event)
            first_s, begun = first_s or clock(), None
        elif isinstance(event, cases_lib.LeftOut):
            found.left_out.append(event)
        elif isinstance(event, Begun):
            begun = event.batch_size
        else:
            cause = event.cause
    if not cause:
        return first_s
    why = {OUT_OF_TIME: _TIME}.get(cause, cause)
    if cause == KILLED:
        why = "memory: the system ended the process (signal 9)"
    what = f"{case}, batch {begun} and more" if begun else str(case)
    found.left_out.append(cases_lib.LeftOut(what=what, why=why))
    return first_s


def left(case: cases_lib.Case, batch_size: int, why: str) -> cases_lib.LeftOut:
    """Returns that a batch size was not measured."""
    return cases_lib.LeftOut(what=f"{case}, batch {batch_size}", why=why)


def measure(
    case: cases_lib.Case,
    take: Callable[[int, float], cases_lib.Row],
    seconds: float,
    clock: Callable[[], float],
    send: Callable[[Event], None],
) -> None:
    """Measures the batch sizes of a case; runs in its process.

    Args:
      case: what is measured.
      take: measures one batch size, and gives a row; it takes a time that the
        clock should not pass.
      seconds: for all of them.
      clock: returns a time in seconds.
      send: takes what there is to say.
    """
    end = clock() + seconds
    sweep = cases_lib.Sweep(case.batches)
    last: cases_lib.Row | None = None
    while (batch_size := sweep.next()) is not None:
        if last is not None and last.steps_s:
            growth = batch_size / last.batch_size
            step_s = sorted(last.steps_s)[len(last.steps_s) // 2]
            if clock() + next_s(last.first_s, step_s, growth) > end:
                for size in sweep.left():
                    send(left(case, size, _NEVER))
                return
        send(Begun(batch_size))
        last = take(batch_size, end)
        send(last)
        sweep.tell(fits=not last.end)
        if last.end and case.batches.sizes:
            for size in sweep.left():
                send(left(case, size, f"memory ended at {batch_size}"))
            return
