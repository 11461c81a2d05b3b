"""The moving average of a network's variables, kept as one vector.

One variable for each would take four operations each: a quarter of a training
step's operations, and of the time to trace it. A checkpoint has them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf


class Part:
    """The average of one variable, a stretch of the vector.

    Attributes:
      name: in checkpoints.
      shape: that of the variable.
      dtype: float32.
    """

    dtype = tf.float32

    def __init__(
        self, name: str, shape: tf.TensorShape, whole: tf.Variable, first: int
    ) -> None:
        self.name, self.shape = name, shape
        self.whole, self.first = whole, first

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(self.shape.num_elements())

    def read_value(self) -> tf.Tensor:
        """Returns its value now."""
        whole = self.whole.read_value()
        return tf.reshape(
            whole[self.first : self.first + self.size], self.shape
        )

    def numpy(self) -> np.ndarray:
        """Returns its value now."""
        return self.read_value().numpy()

    def __array__(self, dtype: np.dtype | None = None) -> np.ndarray:
        """Returns its value now, as NumPy asks for it."""
        return np.asarray(self.numpy(), dtype)


class Average:
    """The moving average.

    Attributes:
      whole: [N] float32, the averages of all variables one after another.
      parts: one for each variable.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], names: Sequence[str]
    ) -> None:
        """Begins with the variables as they are.

        Args:
          variables: what is averaged, float32.
          names: of the averages in checkpoints.
        """
        self._variables = list(variables)
        self.whole = tf.Variable(
            self._now(), trainable=False, name="moving_average"
        )
        sizes = [variable.shape.num_elements() for variable in variables]
        ends = np.cumsum(sizes).tolist()
        self.parts = [
            Part(name, variable.shape, self.whole, first)
            for name, variable, first in zip(
                names, variables, [0, *ends[:-1]], strict=True
            )
        ]

    def move(self, share: tf.Tensor) -> None:
        """Moves it a share of the way to the variables, on a replica."""
        values = tf.concat([flat(v) for v in self._variables], axis=0)
        tf.raw_ops.ResourceApplyGradientDescent(
            var=self.whole.handle, alpha=share, delta=self.whole - values
        )

    def restart(self) -> None:
        """Lets it begin again with the variables as they are."""
        self.whole.assign(self._now())

    def _now(self) -> np.ndarray:
        return np.concatenate([v.numpy().ravel() for v in self._variables])


def flat(values: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Returns values as a vector."""
    if values.shape.rank == 1:
        return tf.convert_to_tensor(values)
    return tf.reshape(values, [-1])


def assign(
    variables: Mapping[str, tf.Variable | Part],
    values: Mapping[str, np.ndarray],
) -> None:
    """Gives every variable its value; parts of a vector all at once."""
    wholes: dict[int, tuple[tf.Variable, np.ndarray]] = {}
    for name, variable in variables.items():
        if isinstance(variable, Part):
            of = variable.whole
            _, changed = wholes.setdefault(id(of), (of, of.numpy().copy()))
            stretch = slice(variable.first, variable.first + variable.size)
            changed[stretch] = np.ravel(values[name])
        else:
            variable.assign(values[name])
    for whole, changed in wholes.values():
        whole.assign(changed)
