"""What a file of weights holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Source:
    """The weights of a file that variables of the detector take.

    Attributes:
      form: what the file is, for a report.
      values: by official name without ':0', in official layout; only those of
        the variables asked for that were found.
      unused: keys of weights in the file that no variable takes.
      left_out: keys that are no weights of the network, and why.
      is_average: the moving average was taken.
      notes: what else a reader should know, a sentence each.
      class_names: the classes of its class head, class 0 first; None if the
        file does not say.
    """

    form: str
    values: Mapping[str, np.ndarray]
    unused: tuple[str, ...]
    left_out: Mapping[str, str]
    is_average: bool
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
