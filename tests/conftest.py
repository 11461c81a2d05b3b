"""What several test modules share: small records of real photographs."""

from __future__ import annotations

import os
import pathlib
import typing

import pytest

from tfrecord_tools import command, convert

if typing.TYPE_CHECKING:
    import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT / "examples" / "aimmo_street"


def pytest_configure(config: pytest.Config) -> None:
    """Makes a second CPU device, for the tests of several replicas.

    Their number cannot be changed once TensorFlow computes. The process that
    only hands tests to others needs no TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    is_worker = hasattr(config, "workerinput")
    if config.getoption("numprocesses", None) and not is_worker:
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )


@pytest.fixture(scope="session")
def mirrored() -> tf.distribute.Strategy:
    """Returns a strategy of two CPU devices.

    One for all tests of a process: two of the same devices would take each
    other's messages for their own.
    """
    import tensorflow

    return tensorflow.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])


@pytest.fixture(scope="session")
def street_records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns a folder with the example photographs at 96x96 as records.

    32 images in two shards a split; val holds the same images as train.
    """
    folder = tmp_path_factory.mktemp("street")
    code = command.run(
        convert.main,
        convert.FLAGS,
        "",
        [
            "convert",
            f"--input_dir={PHOTOGRAPHS}",
            f"--output_dir={folder}",
            "--image_size=96x96",
            "--num_shards=2",
            "--num_workers=1",
            "--eval_on_train",
        ],
    )
    assert code == 0
    return folder
