r"""Faults in every system call of a save, injected by strace.

  python -m tests.training.strace_faults

Lets each call that writes, renames, removes or opens fail once with ENOSPC, and
once ends the process in it, also in TensorFlow's own threads. After each the
newest whole checkpoint must be the old or the new one, and the next save must
work. Prints a table; exits with 1 if one fault leaves anything else. Needs
strace and the right to trace processes; takes some minutes.
"""

from __future__ import annotations

import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from hparams import presets

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"), ("car",), "abc", "2 threads"
)
# openat alone of those that read: a folder's listing, a library, a file.
CALLS = (
    *("openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "close"),
    *("rename", "renameat", "renameat2", "mkdir", "mkdirat", "ftruncate"),
    *("unlink", "unlinkat", "rmdir", "link", "linkat"),
)
KINDS = {"ENOSPC": "error=ENOSPC", "killed": "signal=KILL"}


def _save(folder: pathlib.Path, step: int) -> None:
    variables = {
        "net/kernel": tf.Variable(tf.fill([5000], float(step))),
        "step": tf.Variable(step, dtype=tf.int64),
    }
    checkpoint.save(str(folder), step, variables, META, 2)


def _newest(folder: pathlib.Path) -> int | None:
    """Returns the newest step whose values are all right."""
    found, _ = checkpoint.latest(str(folder))
    if found is None:
        return None
    values = found.values()
    expected = np.full(5000, found.step, np.float32)
    np.testing.assert_array_equal(values["net/kernel"], expected)
    return found.step


def _fork(act: Callable[[], None]) -> tuple[int, int]:
    """Returns a child's number and the pipe whose end lets it begin.

    TensorFlow is imported once, here, and begins to compute in children only.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ours)
        return pid, theirs
    os.close(theirs)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.read(ours, 1)
    code = 3
    try:
        act()
        code = 0
    finally:  # whatever it was: nothing of the parent's goes on here
        os._exit(code)


def _traced(act: Callable[[], None], log: pathlib.Path, expression: str) -> int:
    """Does something in a child under strace; returns its wait status."""
    pid, pipe = _fork(act)
    calls = ",".join(f"?{call}" for call in CALLS)
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(log), "-e", f"trace={calls}"]
        + (["-e", f"inject={expression}"] if expression else [])
        + ["-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        os.kill(pid, signal.SIGKILL)
        raise SystemExit(f"strace does not attach: {line}")
    os.close(pipe)
    status = os.waitpid(pid, 0)[1]
    tracer.communicate()
    return status


def _plain(act: Callable[[], None]) -> int:
    pid, pipe = _fork(act)
    os.close(pipe)
    return os.waitpid(pid, 0)[1]


def _count(log: pathlib.Path) -> dict[str, int]:
    """Returns how often each call was made, in the thread that made most."""
    found: dict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    for line in log.read_text().splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            found[match[2]][match[1]] += 1
    return {call: max(counts.values()) for call, counts in found.items()}


def _try(base: pathlib.Path, room: pathlib.Path, expression: str) -> str:
    """Injects one fault and returns what came of it."""
    folder, log = room / "run", room / "log"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    status = _traced(lambda: _save(folder, 3), log, expression)
    injected = "INJECTED" in log.read_text() or os.WIFSIGNALED(status)
    newest = _newest(folder)
    again = _plain(lambda: _save(folder, 3))
    names = sorted(os.listdir(folder / "checkpoints"))
    if (
        newest not in (2, 3)
        or again
        or _newest(folder) != 3
        or names != ["step-00000002", "step-00000003"]
    ):
        return f"WRONG: newest {newest}, next save {again}, {names}"
    if not injected:
        return "not met"
    return f"newest is {'the old' if newest == 2 else 'the new'} one"


def main() -> int:
    if shutil.which("strace") is None:
        print("strace is not installed.")
        return 1
    started = time.monotonic()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        base = room / "base"
        for step in (1, 2):
            assert _plain(lambda step=step: _save(base, step)) == 0  # type: ignore[misc]
        shutil.copytree(base, room / "counted")
        _traced(lambda: _save(room / "counted", 3), room / "log", "")
        counts = _count(room / "log")
        print(f"{sum(counts.values())} calls: {counts}", flush=True)
        for call, count in sorted(counts.items()):
            for kind, what in KINDS.items():
                found: collections.Counter[str] = collections.Counter()
                for number in range(1, count + 1):
                    expression = f"{call}:{what}:when={number}"
                    found[_try(base, room, expression)] += 1
                wrong += sum(n for t, n in found.items() if "WRONG" in t)
                outcomes = ", ".join(f"{n} {t}" for t, n in found.items())
                print(
                    f"{call:<10} {kind:<7} {count:>4}: {outcomes}", flush=True
                )
    print(f"{time.monotonic() - started:.0f} s, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
