"""The moving average as one vector."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.training import averages


def _made() -> tuple[averages.Average, list[tf.Variable]]:
    variables = [
        tf.Variable([[1.0, 2.0], [3.0, 4.0]]),
        tf.Variable(5.0),
        tf.Variable([6.0, 7.0, 8.0]),
    ]
    return averages.Average(variables, ["a", "b", "c"]), variables


def _values(average: averages.Average) -> dict[str, list]:
    return {part.name: part.numpy().tolist() for part in average.parts}


def test_moves_every_part_by_the_same_share() -> None:
    average, variables = _made()
    for variable in variables:
        variable.assign_add(tf.ones_like(variable))
    average.move(tf.constant(0.25))
    assert _values(average) == {
        "a": [[1.25, 2.25], [3.25, 4.25]],
        "b": 5.25,
        "c": [6.25, 7.25, 8.25],
    }
    average.restart()
    assert _values(average) == {
        "a": [[2.0, 3.0], [4.0, 5.0]],
        "b": 6.0,
        "c": [7.0, 8.0, 9.0],
    }


def test_parts_and_variables_are_assigned_by_name() -> None:
    average, variables = _made()
    stored = {part.name: part for part in average.parts[1:]}
    stored["v"] = variables[1]
    values = {"b": np.array(-1.0), "c": np.arange(3.0), "v": np.array(9.0)}
    averages.assign(stored, values)
    assert _values(average) == {
        "a": [[1.0, 2.0], [3.0, 4.0]],  # not given: as it was
        "b": -1.0,
        "c": [0.0, 1.0, 2.0],
    }
    assert float(variables[1]) == 9.0
    assert [part.shape for part in average.parts] == [
        v.shape for v in variables
    ]
