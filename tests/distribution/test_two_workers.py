"""Two processes train one network: stopped, started again, and compared."""

from __future__ import annotations

import json
import pathlib
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from efficientdet_aimmo import checkpoint
from tests.distribution import pair as pair_lib
from tfrecord_tools import command

_PATIENCE_S = 400


@pytest.fixture(scope="module")
def pair(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pair_lib.Pair]:
    """Returns a run that one worker's notice stopped, and that went on."""
    made = pair_lib.Pair(street_records, tmp_path_factory.mktemp("pair"))
    yield made
    made.close()


def test_notice_of_one_stops_both_and_the_same_commands_go_on(
    pair: pair_lib.Pair,
) -> None:
    pair.start()
    pair.wait_for_line("step 1/8", _PATIENCE_S)
    pair.workers[1].send_signal(signal.SIGTERM)
    assert pair.wait(_PATIENCE_S) == [command.ExitCode.STOPPED] * 2
    newest, _ = checkpoint.latest(str(pair.model_dir))
    assert newest is not None
    said = f"after step {newest.step}, which is saved"
    assert said in pair.log(0)
    assert said in pair.log(1)
    assert 1 <= newest.step < 8

    pair.start()
    assert pair.wait(_PATIENCE_S) == [command.ExitCode.DONE] * 2
    assert f"Going on after step {newest.step}" in pair.log(1)
    result = json.loads((pair.model_dir / "result.json").read_text())
    assert result["step"] == 8
    # The chief alone writes and reports.
    assert "step 8/8" in pair.log(0)
    assert "step 8/8" not in pair.log(1)
    assert len(list((pair.model_dir / "train").iterdir())) == 2
    starts = json.loads((pair.model_dir / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, newest.step]


def _difference(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> float:
    """Returns the norm of the difference over that of the values."""
    values, others = (
        np.concatenate([found[name].ravel() for name in sorted(found)])
        for found in (first, second)
    )
    return float(np.linalg.norm(values - others) / np.linalg.norm(values))


def test_it_ends_where_one_process_does(
    pair: pair_lib.Pair, street_records: pathlib.Path
) -> None:
    """That is, two workers see the images and do the sums of one device."""
    alone = pair_lib.train_alone(street_records, pair.model_dir.parent)
    for step in (4, 8):
        values, others = (
            checkpoint.open_checkpoint(
                str(folder / "checkpoints" / f"step-{step:08}")
            ).values()
            for folder in (pair.model_dir, alone)
        )
        assert values.keys() == others.keys()
        assert _difference(values, others) < 0.02
    ours, theirs = (
        json.loads((folder / "eval" / "00000008.json").read_text())["metrics"]
        for folder in (pair.model_dir, alone)
    )
    for count in ("images", "objects", "detections"):
        assert ours[count] == theirs[count], count
