"""A run that is asked to stop saves within a step, and goes on later."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from typing import Any

import pytest

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.training import stopping
from tests.hparams import witness_records
from tests.training import counting, metadata_server

MOST_S = 20.0  # for what must come; it comes in milliseconds


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def records(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> witness_records.Records:
    return witness_records.make_records(
        street_records, tmp_path_factory.mktemp("stopping")
    )


@pytest.fixture
def runs(
    records: witness_records.Records,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> counting.Runs:
    made = counting.Runs(records, tmp_path)
    made.install(monkeypatch)
    return made


def test_a_signal_in_a_step_saves_after_it(runs: counting.Runs) -> None:
    runs.in_step = lambda step: _sigterm() if step == 1 else None
    message, saved = runs.stops()
    assert saved == 1
    assert message == (
        "Stopped on request (SIGTERM) after step 1, which is saved. The same"
        " command goes on."
    )
    runs.ends()


def test_a_second_signal_does_not_stop_the_saving(
    runs: counting.Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.in_step = lambda step: _sigterm() if step == 1 else None
    save = checkpoint.save

    def save_under_fire(*arguments: Any) -> str:
        _sigterm()
        path = save(*arguments)
        _sigterm()
        return path

    monkeypatch.setattr(checkpoint, "save", save_under_fire)
    _, saved = runs.stops()
    assert saved == 1
    monkeypatch.setattr(checkpoint, "save", save)
    runs.ends()


@pytest.mark.parametrize("batch", [2, 6])
def test_a_signal_in_an_evaluation_leaves_it(
    runs: counting.Runs, batch: int
) -> None:
    runs.in_batch = lambda number: _sigterm() if number == batch else None
    message, saved = runs.stops()
    # The first evaluation, or the last after which there is no step.
    assert saved == {2: 2, 6: 4}[batch]
    assert f"after step {saved}, which is saved" in message
    assert runs.batches == batch
    assert f"{saved:08}.json" not in runs.evaluated()
    assert not (runs.model_dir / "result.json").exists()
    runs.ends()


def test_a_signal_before_an_evaluation_leaves_it_out(
    runs: counting.Runs,
) -> None:
    runs.in_step = lambda step: _sigterm() if step == 2 else None
    _, saved = runs.stops()
    assert saved == 2
    assert runs.batches == 0
    runs.ends()


def test_a_notice_of_preemption_saves_within_a_step(
    runs: counting.Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed = threading.Event()
    on_notice = stopping.StopRequest._on_notice

    def tell(self: stopping.StopRequest) -> None:
        on_notice(self)
        noticed.set()

    monkeypatch.setattr(stopping.StopRequest, "_on_notice", tell)
    answers = (
        metadata_server.Answer("FALSE", "a"),
        metadata_server.Answer("TRUE", "b", is_delayed=True),
    )
    with metadata_server.running(*answers) as server:

        def preempt(step: int) -> None:
            if step == 3:
                server.release.set()
                assert noticed.wait(MOST_S)

        runs.in_step = preempt
        runs.environment = {"GCE_METADATA_HOST": server.host}
        message, saved = runs.stops("preemption_notice=auto")
    assert saved == 3
    assert message == (
        "Stopped because Google Cloud takes the machine back (preemption"
        " notice) after step 3, which is saved. The same command goes on."
    )
    runs.ends()
