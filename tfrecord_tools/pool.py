"""Calls a function on many values in worker processes, in bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import process
from multiprocessing import connection
from typing import TypeVar

from tfrecord_tools import command

Value = TypeVar("Value")
Result = TypeVar("Result")

_WAITING_PER_THREAD = 2
_WAITING_PER_WORKER = 4  # keeps workers busy while one result is slow


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _start_worker() -> None:
    # Ctrl-C goes to the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed outright cannot tell its workers.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def run_in_order(
    function: Callable[[Value], Result],
    values: Iterable[Value],
    num_workers: int,
) -> Iterator[Result]:
    """Yields function(value) for each value, in order.

    Args:
      function: what to call; it and the values go through pickle.
      values: the arguments; read only as far as the workers need.
      num_workers: processes; 1 calls the function in this one.

    Raises:
      command.UserError: a worker died.
    """
    if num_workers == 1:
        yield from map(function, values)
        return
    executor = concurrent.futures.ProcessPoolExecutor(
        max_workers=num_workers,
        # Not fork: this process may have TensorFlow's threads by now.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    waiting: collections.deque[concurrent.futures.Future[Result]] = (
        collections.deque()
    )
    try:
        for value in values:
            waiting.append(executor.submit(function, value))
            if len(waiting) >= _WAITING_PER_WORKER * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except process.BrokenProcessPool as error:
        raise command.UserError(
            command.ExitCode.DEVICE,
            "A worker process died, most likely because memory ran out. Try"
            f" fewer than --num_workers={num_workers}.",
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def run_in_threads(
    function: Callable[[Value], Result],
    values: Iterable[Value],
    num_threads: int,
) -> Iterator[Result]:
    """Yields function(value) for each value, in order.

    Args:
      function: what to call; it lets go of the interpreter while it works.
      values: the arguments; read only as far as the threads need, and in the
        caller's thread.
      num_threads: how many; 1 calls the function in the caller's.
    """
    if num_threads == 1:
        yield from map(function, values)
        return
    waiting: collections.deque[concurrent.futures.Future[Result]] = (
        collections.deque()
    )
    with concurrent.futures.ThreadPoolExecutor(num_threads) as executor:
        for value in values:
            waiting.append(executor.submit(function, value))
            if len(waiting) >= _WAITING_PER_THREAD * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
