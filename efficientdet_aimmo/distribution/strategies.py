"""Makes the strategy that a run asks for, or says why it cannot be had."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from tensorflow.python.eager import context as context_lib
from tensorflow.tsl.protobuf import coordination_config_pb2

from efficientdet_aimmo.distribution import cluster as cluster_lib
from efficientdet_aimmo.distribution import deadline, replicas
from hparams import config as config_lib
from tfrecord_tools import command

# A worker that has not been heard of for so long is gone. TensorFlow's own 10 s
# are short for a machine that is moved or swaps.
_HEARTBEAT_SECONDS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a command is told of the machines, beside the hyper-parameters.

    Attributes:
      worker: host:port of all workers, commas between them, or None.
      worker_index: the place of this one, or None.
      tf_config: the environment variable TF_CONFIG, or None.
      tpu: name or address of a TPU, or None.
      tpu_zone: Google Cloud zone of it, or None.
      gcp_project: Google Cloud project of it, or None.
    """

    worker: str | None
    worker_index: int | None
    tf_config: str | None
    tpu: str | None
    tpu_zone: str | None
    gcp_project: str | None


def _error(code: command.ExitCode, message: str) -> command.UserError:
    return command.UserError(code, message)


def check_flags(runtime: config_lib.Runtime, request: Request) -> None:
    """Raises UserError if a flag is given that the strategy does not read."""
    given: dict[str, dict[str, str | int | None]] = {
        "multi-gpus": {
            "worker": request.worker,
            "worker_index": request.worker_index,
        },
        "tpu": {
            "tpu": request.tpu,
            "tpu_zone": request.tpu_zone,
            "gcp_project": request.gcp_project,
        },
    }
    for strategy, flags in given.items():
        for name, value in flags.items():
            if value is not None and runtime.strategy != strategy:
                raise _error(
                    command.ExitCode.USAGE,
                    f"--{name}={value} has no effect with"
                    f" --strategy={runtime.strategy or chr(39) * 2}. Expected"
                    f" --strategy={strategy} beside it.",
                )
    if runtime.virtual_devices and runtime.strategy in ("", "tpu"):
        raise _error(
            command.ExitCode.USAGE,
            f"virtual_devices={runtime.virtual_devices} has no effect with"
            f" --strategy={runtime.strategy or chr(39) * 2}. Expected"
            " --strategy=gpus or --strategy=multi-gpus beside it.",
        )
    if runtime.virtual_devices > 1 and runtime.strategy == "multi-gpus":
        raise _error(
            command.ExitCode.USAGE,
            f"virtual_devices={runtime.virtual_devices}, but with"
            " --strategy=multi-gpus a worker without GPUs has one device."
            " Expected 1.",
        )


def make(
    runtime: config_lib.Runtime, request: Request
) -> replicas.Distribution:
    """Returns the distribution of a run; the first that TensorFlow hears of.

    Raises:
      UserError: there is no such device, or a worker is not there.
    """
    check_flags(runtime, request)
    if runtime.strategy == "":
        return replicas.single()
    if runtime.strategy == "tpu":
        return _tpu(request)
    _check_devices(runtime)
    if runtime.strategy == "gpus":
        return replicas.Distribution(
            strategy=tf.distribute.MirroredStrategy(_local_devices(runtime))
        )
    return _multi_worker(runtime, request)


def _check_devices(runtime: config_lib.Runtime) -> None:
    """Raises UserError if there is no GPU; makes virtual devices."""
    if runtime.virtual_devices == 0:
        if not tf.config.list_physical_devices("GPU"):
            raise _error(
                command.ExitCode.DEVICE,
                f"--strategy={runtime.strategy} found no GPU that TensorFlow"
                " can use. Expected at least one. To try a run out without"
                " GPUs, give the hyper-parameter virtual_devices (CPU devices"
                " that stand in for them) and --allow_cpu.",
            )
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * runtime.virtual_devices
    if tf.config.get_logical_device_configuration(cpu) != logical:
        tf.config.set_logical_device_configuration(cpu, logical)


def _local_devices(runtime: config_lib.Runtime) -> list[str] | None:
    if runtime.virtual_devices:
        return [f"/cpu:{i}" for i in range(runtime.virtual_devices)]
    return None  # all GPUs


def _multi_worker(
    runtime: config_lib.Runtime, request: Request
) -> replicas.Distribution:
    cluster = cluster_lib.find(
        request.worker, request.worker_index, request.tf_config
    )
    cluster_lib.wait_for_all(cluster, runtime.wait_for_workers)
    context_lib.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * _HEARTBEAT_SECONDS,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(
                name="worker", num_tasks=len(cluster.workers)
            )
        ],
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        with deadline.exits_after(
            runtime.wait_for_workers, command.ExitCode.STOPPED
        ):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except (*replicas.LOST, tf.errors.UnknownError) as error:
        raise replicas.lost_peer(error) from error
    return replicas.Distribution(
        strategy=strategy,
        num_workers=len(cluster.workers),
        worker=cluster.index,
    )


def _tpu(request: Request) -> replicas.Distribution:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=request.tpu or "",
            zone=request.tpu_zone,
            project=request.gcp_project,
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise _error(
            command.ExitCode.DEVICE,
            f"No TPU at --tpu={request.tpu} ({error}). Expected its name, its"
            " grpc:// address, or 'local' on a TPU machine.",
        ) from error
    return replicas.Distribution(strategy=tf.distribute.TPUStrategy(resolver))
