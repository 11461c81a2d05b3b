"""Trains a small network with and without XLA, and prints what came out.

In a process of its own: XLA reads its own flags once, and with all that its
compiler does this network would take minutes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from unittest import mock

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.model import efficientnet
from tests.training import tiny

NUM_STEPS = 50
# The backbone's batch norm stands still: over two images of one place each it
# makes chaos of rounding, and after 50 steps that decides.
SETTINGS = (
    "image_size=32,max_level=5,fpn_num_filters=8,learning_rate=0.001,"
    "var_freeze_expr=efficientnet.*(bn|batch)"
)


def losses(text: str) -> dict[str, list[float]]:
    """Returns the loss of every step, and the first gradient's norm."""
    # Every kind of layer is there, and little to compute.
    stages = tuple(
        dataclasses.replace(
            stage,
            repeats=1,
            kernel_size=3,
            expand_ratio=min(stage.expand_ratio, 2),
            channels=max(8, stage.channels // 8),
        )
        for stage in efficientnet._STAGES
    )
    with mock.patch.object(efficientnet, "_STAGES", stages):
        trainer = tiny.Trainer(f"{SETTINGS},{text}")
    batch = tiny.batch()
    batch = batch._replace(
        images=tf.image.resize(batch.images, [32, 32]), boxes=batch.boxes / 2
    )
    results = [trainer.step(batch) for _ in range(NUM_STEPS)]
    return {
        "losses": [float(result.total_loss) for result in results],
        "norms": [float(np.float32(results[0].gradient_norm))],
    }


if __name__ == "__main__":
    print(json.dumps({text: losses(text) for text in sys.argv[1:]}))
