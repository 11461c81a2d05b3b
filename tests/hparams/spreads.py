"""What a configuration does with several devices."""

from __future__ import annotations

from typing import Any
from unittest import mock

import tensorflow as tf

from efficientdet_aimmo.distribution import cluster, strategies
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import gradients
from hparams import config as config_lib
from tests.hparams import witness_records
from tfrecord_tools import command

CHECK_DEVICES = strategies._check_devices
_TWO_WORKERS = "127.0.0.1:5001,127.0.0.1:5002"


def spread(config: config_lib.Config, _: witness_records.Records) -> object:
    """The strategy that is made, or why there is none."""
    is_cluster = config.runtime.strategy == "multi-gpus"
    request = strategies.Request(
        worker=_TWO_WORKERS if is_cluster else None,
        worker_index=0 if is_cluster else None,
        tf_config=None,
        tpu=None,
        tpu_zone=None,
        gcp_project=None,
    )
    with (
        mock.patch.object(strategies, "_check_devices", _is_there),
        mock.patch.object(cluster, "wait_for_all", _stop_waiting),
    ):
        try:
            found = strategies.make(config.runtime, request)
        except command.UserError as error:
            return str(error)
    return type(found.strategy).__name__, found.num_replicas


def _is_there(runtime: config_lib.Runtime) -> None:
    """Lets a cluster wait before it misses its GPUs."""
    if runtime.strategy == "gpus":
        CHECK_DEVICES(runtime)


def _stop_waiting(_: cluster.Cluster, patience: float) -> None:
    raise command.UserError(command.ExitCode.STOPPED, f"waited {patience} s")


def norms(config: config_lib.Config, _: witness_records.Records) -> object:
    """Whether batch norm is synchronised where two replicas have four each."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    found: list[bool] = []

    def on_replica(state: Any) -> None:
        run = gradients.forward_pass(
            state, frozenset(), config, 4, layers.Rows(0, 1)
        )
        found.append(run.synchronise is not None)

    state = mock.Mock(step=tf.Variable(0, dtype=tf.int64))
    strategy.run(on_replica, args=(state,))
    return found
