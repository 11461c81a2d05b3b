"""Whom a configuration lets a run ask for notices of preemption."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from unittest import mock

from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import loop, stopping
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tests.hparams import witness_records


class _SeenError(Exception):
    """Ends a run when it begins to listen."""


def notices(
    config: config_lib.Config, records: witness_records.Records
) -> object:
    """Who is asked where the environment names somebody."""
    asked: list[str | None] = []

    def listen(host: str | None, _: Callable[[str], None]) -> None:
        asked.append(host)
        raise _SeenError

    with (
        mock.patch.object(stopping, "StopRequest", listen),
        contextlib.suppress(_SeenError),
    ):
        loop.train(
            config,
            run_lib.Run(
                model_dir="",
                train=records.train,
                val=None,
                ground_truth=None,
                warm_start=None,
                threads="",
                environment={"GCE_METADATA_HOST": "10.0.0.1"},
                spread=replicas.single(),
            ),
        )
    return asked
