"""Kills or freezes a worker, by hand:

  python -m tests.distribution.loss --records=RECORDS --folder=FOLDER

RECORDS is what tfrecord_tools.convert writes from examples/aimmo_street with
--eval_on_train. For each of the two workers, killed and frozen: after how many
seconds the other one ends, with which code and message; then the same commands
would go on.
"""

from __future__ import annotations

import pathlib
import signal
import sys
import time

from absl import app, flags

from tests.distribution import pair as pair_lib

FLAGS = flags.FLAGS
flags.DEFINE_string("records", None, "the records", required=True)
flags.DEFINE_string("folder", None, "where runs are made", required=True)

_START_S = 900.0
_MOST_S = 120.0


def _lose(folder: pathlib.Path, lost: int, how: signal.Signals) -> bool:
    folder.mkdir(parents=True)
    pair = pair_lib.Pair(pathlib.Path(FLAGS.records), folder)
    pair.num_epochs = 400
    pair.start()
    try:
        pair.wait_for_line("step 5/", _START_S)
        pair.workers[lost].send_signal(how)
        began = time.monotonic()
        code = pair.workers[1 - lost].wait(timeout=2 * _MOST_S)
        seconds = time.monotonic() - began
        said = pair.log(1 - lost).strip().splitlines()[-1]
        print(
            f"worker {lost}, {how.name}: the other ended after {seconds:.0f} s"
        )
        print(f"  with {code}: {said}")
        if how == signal.SIGSTOP:
            pair.workers[lost].send_signal(signal.SIGCONT)
            other = pair.workers[lost].wait(timeout=2 * _MOST_S)
            print(f"  the frozen one, when it went on, with {other}")
    finally:
        pair.close()
    sys.stdout.flush()
    return code == 75 and seconds < _MOST_S


def main(_: list[str]) -> None:
    """Loses each worker in each way."""
    folder = pathlib.Path(FLAGS.folder)
    fine = [
        _lose(folder / f"{how.name}-{lost}", lost, how)
        for how in (signal.SIGKILL, signal.SIGSTOP)
        for lost in (0, 1)
    ]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    app.run(main)
