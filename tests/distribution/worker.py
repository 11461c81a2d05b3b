"""A worker process of a test: training with a backbone of few operations."""

from __future__ import annotations

import dataclasses
import os
import sys
from unittest import mock

from efficientdet_aimmo import train
from tfrecord_tools import command


def main() -> int:
    """Trains as the command does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from efficientdet_aimmo.model import efficientnet

    short = tuple(
        dataclasses.replace(stage, repeats=1) for stage in efficientnet._STAGES
    )
    mock.patch.object(efficientnet, "_STAGES", short).start()
    return command.run(train.main, train.FLAGS, "", sys.argv)


if __name__ == "__main__":
    sys.exit(main())
