"""Keras's .h5 files of weights."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from efficientdet_aimmo.pretrained import source
from tfrecord_tools import command


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def read(path: str, names: Collection[str]) -> source.Source:
    """Returns what an .h5 file holds for the variables named.

    Args:
      path: a file that Keras's save_weights wrote.
      names: the variables' official names, without ':0'.

    Raises:
      UserError: it is no such file, or it is damaged.
    """
    import h5py  # comes with TensorFlow; takes a moment

    found: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            # A whole model keeps its weights in a group of their own.
            root = file.get("model_weights", file)
            for layer in root.attrs["layer_names"]:
                group = root[_text(layer)]
                for name in map(_text, group.attrs["weight_names"]):
                    found[name.removesuffix(":0")] = np.asarray(group[name])
    except (OSError, KeyError, ValueError) as error:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{path} cannot be read as Keras weights: {error}. Expected an .h5"
            " file that model.save_weights wrote.",
        ) from error
    values = {name: found[name] for name in names if name in found}
    return source.Source(
        form="official Keras weights (h5)",
        values=values,
        unused=tuple(sorted(set(found) - set(values))),
        left_out={},
        is_average=False,
    )
