"""What a run shows on a terminal, elsewhere and in TensorBoard."""

from __future__ import annotations

import io
import pathlib
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import monitor


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def _monitor(folder: pathlib.Path) -> monitor.Monitor:
    return monitor.Monitor(
        str(folder), num_steps=6, start_step=2, batch_size=4, log_steps=2
    )


def _run(folder: pathlib.Path) -> None:
    shown = _monitor(folder)
    for step in range(3, 7):
        shown.begin_step()
        shown.end_step(step, {"total_loss": 7.0 - step, "learning_rate": 0.5})
    shown.close()


def _scalars(folder: pathlib.Path) -> dict[tuple[str, int], float]:
    found = {}
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = tf.make_ndarray(value.tensor)
                found[value.tag, event.step] = float(np.ravel(number)[0])
    return found


def test_plain_lines_without_a_terminal(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("step 4/6: loss 3.0000, ")
    assert lines[0].endswith(" left")
    assert " images/s, " in lines[0]
    assert lines[1].endswith(", 0 s left")


def test_one_line_on_a_terminal(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    _run(tmp_path)
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1  # at the end
    assert "training 6/6" in drawn
    assert "loss 1.0000" in drawn


def test_tensorboard_gets_a_point_every_log_steps(
    tmp_path: pathlib.Path,
) -> None:
    _run(tmp_path)
    found = _scalars(tmp_path / "train")
    assert found["total_loss", 4] == 3.0
    assert found["learning_rate", 6] == 0.5
    assert found["images_per_second", 6] > 0
    assert {step for _, step in found} == {4, 6}


def test_share_of_time_that_steps_wait_for_input(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Begin, input, end of four steps: 1 of 4 s waited, 2 of 4, 4 of 5, 0 of 5.
    times = iter([0, *(0, 1, 4), *(4, 6, 8), *(8, 12, 13), *(20, 20, 25)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    shown = _monitor(tmp_path)
    for step in range(3, 7):
        shown.begin_step()
        shown.end_wait()
        shown.end_step(step, {"total_loss": 1.0})
    shown.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "step 4/6: loss 1.0000, 1.0 images/s, 38% waiting for input, 8 s left"
    )
    assert ", 0.8 images/s, 40% waiting for input, 0 s left" in lines[1]
    found = _scalars(tmp_path / "train")
    assert found["input_wait_share", 4] == pytest.approx(3 / 8)
    assert found["input_wait_share", 6] == pytest.approx(4 / 10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (59.0, "59 s"),
        (60.0, "1 min 00 s"),
        (303.0, "5 min 03 s"),
        (3900.0, "1 h 05 min"),
    ],
)
def test_time_to_the_end(seconds: float, text: str) -> None:
    assert monitor.duration(seconds) == text
