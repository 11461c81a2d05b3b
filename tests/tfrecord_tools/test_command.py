"""How every command ends when it is asked to stop in a container."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A process that is sent SIGTERM while it holds the signal back, as the image's
# entry point leaves it, and then runs a command. What is asserted of the first
# process of a container is asserted of one that takes itself for it.
PROBE = """
import os, signal, sys
from absl import flags
from tfrecord_tools import command

me = os.getpid()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
if sys.argv[1] != "later":
    os.kill(me, signal.SIGTERM)
os.getpid = lambda: int(sys.argv[2]) or me

def main(values):
    print("begun")
    os.kill(me, signal.SIGTERM)
    print("not reached")

sys.exit(command.run(main, flags.FlagValues(), "", ["command"]))
"""


def _run(when: str, pid: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-u", "-c", PROBE, when, str(pid)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_the_first_process_stops_with_the_code_for_it() -> None:
    done = _run("later", 1)
    assert (done.returncode, done.stdout) == (75, "begun\n")
    assert done.stderr.startswith("error: Stopped on request (SIGTERM).")
    assert "Traceback" not in done.stderr


def test_a_stop_that_was_held_back_is_heard() -> None:
    done = _run("before", 1)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith("error: Stopped on request (SIGTERM).")


def test_another_process_ends_by_the_signal() -> None:
    for when, out in (("later", "begun\n"), ("before", "")):
        done = _run(when, 0)
        assert (done.returncode, done.stdout) == (-signal.SIGTERM, out)
