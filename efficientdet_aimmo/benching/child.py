"""A process for each case: its memory is its own, and is given back."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping
from multiprocessing import connection

from efficientdet_aimmo.benching import cases as cases_lib
from efficientdet_aimmo.benching import sweep
from tfrecord_tools import command


def start(
    case: cases_lib.Case, seconds: float, folder: str
) -> Iterator[sweep.Event]:
    """Yields what a process finds that measures a case, and how it ended.

    Args:
      case: what is measured.
      seconds: after which the process is ended.
      folder: where records lie, for input.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    end = time.monotonic() + seconds
    process = context.Process(
        target=_measure, args=(case, end, folder, sender), daemon=True
    )
    process.start()
    sender.close()
    try:
        yield from _events(receiver, end)
        process.join(max(0.0, end - time.monotonic()))
        yield sweep.Ended(_cause(process.exitcode))
    finally:
        process.kill()  # of one that has ended: nothing
        process.join()
        receiver.close()


def _events(
    receiver: connection.Connection, end: float
) -> Iterator[sweep.Event]:
    """Yields what comes until the process closes its end, or the time is up."""
    while receiver.poll(max(0.0, end - time.monotonic())):
        try:
            yield receiver.recv()
        except EOFError:
            return


def _cause(exit_code: int | None) -> str:
    """Returns why a process ended, as sweep.Ended has it."""
    named: Mapping[int | None, str] = {
        None: sweep.OUT_OF_TIME,
        0: "",
        -signal.SIGKILL: sweep.KILLED,
    }
    return named.get(exit_code, f"the process ended with {exit_code}")


def _measure(
    case: cases_lib.Case,
    end: float,
    folder: str,
    sender: connection.Connection,
) -> None:
    """Measures in this process; imports TensorFlow."""
    command.silence_libraries()
    from efficientdet_aimmo.benching import measuring

    sweep.measure(
        case,
        measuring.make(case, folder),
        end - time.monotonic(),
        time.monotonic,
        sender.send,
    )
