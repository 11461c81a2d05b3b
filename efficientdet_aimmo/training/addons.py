"""The one place that imports tensorflow-addons."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_addons as tfa


def lamb(
    beta_1: float, beta_2: float, epsilon: float
) -> tf.keras.optimizers.legacy.Optimizer:
    """Returns LAMB (You et al. 2020), Adam for large batches.

    Its rate is set before every step.
    """
    return tfa.optimizers.LAMB(
        0.0, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon
    )
