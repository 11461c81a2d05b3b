"""The training command says what stops it, and ends with the code for it."""

from __future__ import annotations

import os
import signal

import pytest

from efficientdet_aimmo.training import loop
from tests import train_cases

cmd = train_cases.cmd
Command = train_cases.Command


def test_the_table_says_who_is_asked(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "10.0.0.1:80")
    shown = cmd.start()
    assert (
        "\nstops on        SIGTERM, and Google Cloud's preemption notice from"
        " 10.0.0.1:80\n" in shown
    )
    assert "\nstops on        SIGTERM\n" in cmd.start("--preemption_notice=off")


def test_a_wrong_host_is_refused(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "http://10.0.0.1")
    assert "GCE_METADATA_HOST is 'http://10.0.0.1'" in cmd.fault(64)


def test_a_signal_before_the_first_step_ends_with_the_same_code(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "train", killed)
    assert "where nothing was to be saved" in cmd.fault(75)
    assert signal.getsignal(signal.SIGTERM) == handler
