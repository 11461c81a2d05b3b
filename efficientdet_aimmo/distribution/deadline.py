"""Ends a process that waits in a library for ever."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2


class _SignalEvent(ctypes.Structure):
    """struct sigevent of Linux, 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("padding", ctypes.c_char * 32),
    )


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: a period and a first time, seconds and nanoseconds."""

    _fields_ = (
        ("period_s", ctypes.c_long),
        ("period_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


@contextlib.contextmanager
def exits_after(seconds: int, exit_code: int) -> Iterator[None]:
    """Ends the process with exit_code if the block takes longer.

    TensorFlow holds Python's global lock while it connects to other machines,
    so no Python thread and no signal handler could do it: a timer of the C
    library calls its _exit.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    event = _SignalEvent(
        value=exit_code,
        notify=_SIGEV_THREAD,
        function=ctypes.cast(libc._exit, ctypes.c_void_p).value,
    )
    timer = ctypes.c_void_p()
    made = libc.timer_create(
        _CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)
    )
    if made != 0:
        raise OSError(ctypes.get_errno(), "timer_create failed")
    libc.timer_settime(
        timer, 0, ctypes.byref(_TimerSpec(first_s=seconds)), None
    )
    try:
        yield
    finally:
        libc.timer_delete(timer)
