"""The bench command: real runs of the smallest network, and mistakes."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator

import pytest

from efficientdet_aimmo import bench
from efficientdet_aimmo.benching import cases, child, measuring, sweep
from tfrecord_tools import command

SMALL = (
    "image_size=64,max_level=5,fpn_cell_repeats=1,box_class_repeats=1,"
    "fpn_num_filters=8"
)


def _run(*arguments: str) -> int:
    return command.run(
        bench.main,
        bench.FLAGS,
        "",
        ["bench", *arguments],
        positional="measure",
    )


def _start_here(
    case: cases.Case, seconds: float, folder: str
) -> Iterator[sweep.Event]:
    """Measures in this process, which has TensorFlow already."""
    found: list[sweep.Event] = []
    sweep.measure(
        case,
        measuring.make(case, folder),
        seconds,
        time.monotonic,
        found.append,
    )
    yield from found
    yield sweep.Ended("")


@pytest.mark.slow  # a process that imports TensorFlow and traces a network
@pytest.mark.parametrize(
    ("verb", "batch_sizes"),
    [("train", [2]), ("infer", [2]), ("input", [1, 2])],
)
def test_measures_on_a_cpu(
    verb: str,
    batch_sizes: list[int],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if verb != "train":  # one process of its own is enough
        monkeypatch.setattr(child, "start", _start_here)
    path = tmp_path / "figures.json"
    code = _run(
        verb,
        "--allow_cpu",
        "--model_name=efficientdet-lite0",
        f"--hparams={SMALL}",
        f"--batch_sizes={','.join(map(str, reversed(batch_sizes)))}",
        "--seconds=500",
        "--json",
        f"--output={path}",
    )
    shown = capsys.readouterr()
    assert code == 0, shown.err
    content = json.loads(shown.out)
    assert json.loads(path.read_text()) == content
    assert [row["batch_size"] for row in content["rows"]] == batch_sizes
    for row in content["rows"]:
        assert row["image_size"] == [64, 64]
        assert row["num_steps"] >= 5
        assert row["step_s"] > 0
        assert row["first_s"] > row["step_s"]
        # TensorFlow alone takes more.
        assert 200 < row["peak_bytes"] / 2**20 < 8000
    assert "lite0" in shown.err
    assert "images/s" in shown.err
    assert "CPU: " in content["device"]


def _fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert _run(*arguments) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: What is to be measured? Give it, as in"),
        (("evaluate",), "should be one of <train|infer|input>"),
        (
            ("infer", "--precision=float16"),
            "--precision has no effect on infer",
        ),
        (("input", "--xla=on"), "--xla has no effect on input"),
        (
            ("train", "--precision=half"),
            "--precision=half, expected of float16",
        ),
        (("train", "--batch_sizes=1,x"), "--batch_sizes=1,x, expected numbers"),
        (("train", "--batch_sizes=0"), "--batch_sizes=0, expected numbers"),
        (("train", "--model_name=d0"), "Unknown model name 'd0'"),
        (("train", "--hparams=gama=1"), "Did you mean 'gamma'?"),
        (
            ("train", "--hparams=use_xla=true"),
            "--hparams has use_xla, which is measured over several values. Give"
            " --xla.",
        ),
        (
            (
                "train",
                "--allow_cpu",
                "--xla=both",
                "--hparams=grad_checkpoint=true",
            ),
            "use_xla=true and grad_checkpoint=true",
        ),
        (("train", "--seconds=1"), "--seconds=1: 1.0 is not number >= 10"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in _fault(capsys, *arguments)


def test_a_cpu_is_measured_where_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    assert _run("train") == 69
    assert "--allow_cpu" in capsys.readouterr().err
