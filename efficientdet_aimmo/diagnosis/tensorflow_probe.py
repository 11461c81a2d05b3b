"""Imports TensorFlow and TensorBoard in a process of its own.

    python tensorflow_probe.py

prints JSON on the last line of its output: the GPUs that TensorFlow lists, and
why TensorBoard cannot be imported. TensorFlow's log goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Prints what is found."""
    # The folder of this file, whose modules are no top-level ones.
    sys.path.pop(0)
    # Everything it says; and of the module that opens libraries more, as it
    # names the one that is missing at no other level.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    os.environ["TF_CPP_VMODULE"] = "dso_loader=1"
    import tensorflow as tf

    gpus = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        gpus.append(details.get("device_name", gpu.name))
    error = ""
    try:
        importlib.import_module("tensorboard.program")
    except ImportError as reason:
        error = str(reason)
    print(json.dumps({"gpus": gpus, "tensorboard_error": error}))


if __name__ == "__main__":
    main()
