"""What the run computes on."""

from __future__ import annotations

import tensorflow as tf


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
