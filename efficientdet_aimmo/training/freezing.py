"""Which variables stand still, and until when."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from tfrecord_tools import command


def frozen_names(
    expression: str, variables: Sequence[tf.Variable]
) -> frozenset[str]:
    """Returns the names of the variables that an expression freezes.

    It is matched from the start of the name, as officially. A moving statistic
    that it names stands still as well; officially all of them go on moving.

    Args:
      expression: a regular expression; '' freezes nothing.
      variables: of the network, moving statistics included.

    Raises:
      UserError: it matches no variable, or leaves none to train.
    """
    if not expression:
        return frozenset()
    pattern = re.compile(expression)
    found = frozenset(v.name for v in variables if pattern.match(v.name))
    if not found:
        names = ", ".join(_beginnings(variables))
        raise command.UserError(
            command.ExitCode.USAGE,
            f"var_freeze_expr={expression} matches no variable: nothing would"
            f" be frozen. It is matched from the start of the name; names begin"
            f" with {names}.",
        )
    if all(v.name in found for v in variables if v.trainable):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"var_freeze_expr={expression} matches all variables: nothing would"
            " be trained. Name the parts that are to stand still, as"
            " (efficientnet|fpn_cells|resample_p).",
        )
    return found


def _beginnings(variables: Sequence[tf.Variable]) -> list[str]:
    """Returns the first parts of the variables' names, in order, once each."""
    return list(dict.fromkeys(v.name.split("/")[0] for v in variables))


def describe(
    names: frozenset[str], variables: Sequence[tf.Variable], thaw_step: int
) -> str:
    """Returns a line that says what is frozen.

    Args:
      names: of the frozen variables.
      variables: of the network.
      thaw_step: the first step that trains them; 0 for never.
    """
    frozen = [v for v in variables if v.name in names]
    weights = [v for v in frozen if v.trainable]
    numbers = sum(v.shape.num_elements() for v in weights)
    until = f"until step {thaw_step}" if thaw_step else "in the whole run"
    return (
        f"Frozen {until}: {len(weights)} variables with {numbers:,} numbers,"
        f" and {len(frozen) - len(weights)} moving statistics."
    )
