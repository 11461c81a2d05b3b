"""Real limits of the system: the largest file, and a file system that is full.

TensorFlow writes the variables itself, so that its errors come from below.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import best, monitor
from hparams import presets
from tfrecord_tools import command

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"), ("car",), "abc", "2 threads"
)

# Which file is the largest: variables, their names, or what is beside them.
LARGEST = {
    "variables.data-00000-of-00001": {"net/kernel": [4000]},
    "variables.index": {f"net/{i:03}/{'n' * 90}": [1] for i in range(90)},
    "meta.json": {"net/kernel": [3]},
}


def _save(folder: pathlib.Path, shapes: dict[str, list[int]], step: int) -> str:
    variables = {
        name: tf.Variable(tf.random.stateless_normal(shape, [step, 1]))
        for name, shape in shapes.items()
    }
    return checkpoint.save(str(folder), step, variables, META, 2)


def _check(
    folder: pathlib.Path, shapes: dict[str, list[int]], step: int
) -> None:
    """Checks that a step is the newest, and all its values."""
    found, faults = checkpoint.latest(str(folder))
    assert found is not None
    assert (found.step, faults) == (step, [])
    values = found.values()
    assert set(values) == set(shapes)
    for name, shape in shapes.items():
        expected = tf.random.stateless_normal(shape, [step, 1])
        np.testing.assert_array_equal(values[name], expected)


@contextlib.contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    """Has the system refuse to write files of more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("largest", LARGEST)
def test_file_cut_at_any_size(tmp_path: pathlib.Path, largest: str) -> None:
    shapes = LARGEST[largest]
    path = pathlib.Path(_save(tmp_path, shapes, 1))
    sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    assert max(sizes, key=lambda name: sizes[name]) == largest
    most = sizes[largest]
    limits = {0, 1, most - 1}
    limits |= {size + i for size in sizes.values() for i in (-1, 0)}
    limits |= set(range(0, most, most // 12))
    step = 1
    for limit in sorted(limits - {most}):
        with _largest_file(limit), pytest.raises(OSError, match="large"):
            _save(tmp_path, shapes, step + 1)
        _check(tmp_path, shapes, step)
        # What could not be finished takes no room.
        assert not list((tmp_path / "checkpoints").glob(".*"))
        step += 1
        _save(tmp_path, shapes, step)
        _check(tmp_path, shapes, step)
    with _largest_file(max(sizes.values()) + 16):  # steps get more digits
        _save(tmp_path, shapes, step + 1)
    _check(tmp_path, shapes, step + 1)


def test_best_and_report_that_do_not_fit(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    shapes = LARGEST["meta.json"]
    file = tmp_path / "eval" / "00000001.json"
    for step in (1, 2):
        _save(tmp_path, shapes, step)
    report.write_whole(str(file), '{"metrics": {"ap": 0.1}}')
    assert best.keep(str(tmp_path), 1, 0.1)
    for limit in (0, 10, 500, 2000):
        with _largest_file(limit), pytest.raises(OSError, match="large"):
            best.keep(str(tmp_path), 2, 0.2)
        found = best.find(str(tmp_path))
        assert found is not None
        assert found.step == 1
    before = file.read_bytes()
    for limit in (0, 10, len(before)):
        with _largest_file(limit), pytest.raises(command.UserError) as caught:
            report.write_whole(str(file), "x" * 2000)
        assert caught.value.exit_code == command.ExitCode.DISK
        assert "cannot be written (File too large)" in str(caught.value)
        assert file.read_bytes() == before
        assert [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a file system of 256 KiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _leave(folder: pathlib.Path, num_bytes: int) -> None:
    """Fills a file system but for some room."""
    fill = folder / "fill"
    fill.unlink(missing_ok=True)
    state = os.statvfs(folder)
    fill.write_bytes(bytes(state.f_bavail * state.f_frsize - num_bytes))


def test_file_system_that_is_full(small_disk: pathlib.Path) -> None:
    shapes = LARGEST["variables.data-00000-of-00001"]
    _save(small_disk, shapes, 1)
    said = []
    for step, pages in enumerate(range(12), start=2):
        _leave(small_disk, 4096 * pages)
        try:
            _save(small_disk, shapes, step)
        except OSError as error:
            said.append(str(error))
            _check(small_disk, shapes, step - 1)
            (small_disk / "fill").unlink()
            _save(small_disk, shapes, step)
        _check(small_disk, shapes, step)
    assert 4 <= len(said) < 12
    assert all("No space left" in text for text in said)


def _fill_events(shown: monitor.Monitor) -> None:
    scalars = {"total_loss": 1.0, **{f"x{i}": 1.0 for i in range(20)}}
    for step in range(1, 40):
        shown.begin_step()
        shown.end_step(step, scalars)
    shown.close()


def _fill_pictures(shown: monitor.Monitor) -> None:
    counts = metrics_lib.Counts(
        threshold=None,
        true_positives=0,
        false_positives=0,
        false_negatives=1,
        precision=0.0,
        recall=0.0,
        f1=0.0,
    )
    found = metrics_lib.Metrics(
        images=1,
        objects=1,
        detections=0,
        ap=0.0,
        ap50=0.0,
        ap75=0.0,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        ar100=0.0,
        overall=counts,
        classes=(),
    )
    noise = np.random.default_rng(1).integers(0, 255, (90, 90, 3), np.uint8)
    shown.show_evaluation(1, found, [("1", noise)])


@pytest.mark.parametrize("fill", [_fill_events, _fill_pictures])
@pytest.mark.parametrize("limit", [0, 3000])
def test_events_that_do_not_fit(
    tmp_path: pathlib.Path, fill: Callable[[monitor.Monitor], None], limit: int
) -> None:
    with _largest_file(limit), pytest.raises(command.UserError) as caught:
        fill(
            monitor.Monitor(
                str(tmp_path),
                num_steps=50,
                start_step=0,
                batch_size=1,
                log_steps=1,
            )
        )
    assert caught.value.exit_code == command.ExitCode.DISK
    said = str(caught.value)
    assert said.startswith(
        f"TensorBoard's events cannot be written to {tmp_path}"
    )
    assert "File too large" in said or "holds 5 whole events of 6" in said
    assert "\n" not in said
