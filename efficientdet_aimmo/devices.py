"""What the run computes on, and a GPU that TensorFlow cannot use."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tfrecord_tools import command


def system_gpus(root: str) -> list[str]:
    """Returns the NVIDIA GPUs that the system shows, whatever TensorFlow sees.

    Args:
      root: the file system's root; "/" but in tests.
    """
    folder = pathlib.Path(root) / "proc/driver/nvidia/gpus"
    if folder.is_dir():
        return sorted(path.name for path in folder.iterdir())
    # Containers may show the device nodes only.
    return sorted(
        p.name for p in (pathlib.Path(root) / "dev").glob("nvidia[0-9]*")
    )


def check_gpus(shown: list[str], visible: str | None, usable: int) -> None:
    """Refuses to train on the CPU beside a GPU that was meant to be used.

    Args:
      shown: GPUs that the system shows.
      visible: CUDA_VISIBLE_DEVICES, None if it is not set. Set to '' or -1 it
        hides the GPUs on purpose.
      usable: GPUs that TensorFlow can use.

    Raises:
      UserError: there is a GPU, it is not hidden, and TensorFlow has none.
    """
    is_hidden = visible is not None and visible.strip() in ("", "-1")
    if not shown or usable or is_hidden:
        return
    built = tf.sysconfig.get_build_info()
    raise command.UserError(
        command.ExitCode.DEVICE,
        f"This machine shows {len(shown)} GPU ({', '.join(shown)}), TensorFlow"
        f" {tf.__version__} can use none. It was built for CUDA"
        f" {built.get('cuda_version', 'none')} and cuDNN"
        f" {built.get('cudnn_version', 'none')}: install these with"
        " 'pip install tensorflow[and-cuda]==2.15.1' and check the driver with"
        " nvidia-smi. To train on the CPU on purpose, set"
        " CUDA_VISIBLE_DEVICES=-1.",
    )


def describe(num_replicas: int) -> str:
    """Returns what TensorFlow computes on.

    Args:
      num_replicas: devices that are used, on all machines.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        split = f", as {num_replicas} devices" if num_replicas > 1 else ""
        return f"CPU, {threads or 'all'} threads{split}"
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in gpus
    ]
    used = "one is used" if num_replicas == 1 else "all are used"
    return f"{len(gpus)} GPU here: {', '.join(names)}; {used}"
