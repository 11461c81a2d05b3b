"""What is measured, and in which order, while there is time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batches:
    """The batch sizes of a sweep.

    Attributes:
      sizes: those asked for; none: doubled until memory ends.
      first: where doubling begins; where that does not fit it is halved.
      most: where doubling ends.
    """

    sizes: tuple[int, ...]
    first: int
    most: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration, measured in a process of its own.

    Attributes:
      verb: train, infer or input.
      model_name: the network.
      precision: of training; empty where it is not chosen.
      use_xla: of training.
      hparams: further settings, by name.
      batches: what is swept over.
    """

    verb: str
    model_name: str
    precision: str
    use_xla: bool
    hparams: Mapping[str, object]
    batches: Batches

    def __str__(self) -> str:
        parts = [self.model_name, self.precision, "XLA" * self.use_xla]
        return " ".join(filter(None, parts))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A measured batch size, or why it was not.

    Attributes:
      case: what was measured.
      image_size: height and width of the network's input.
      batch_size: images of a step.
      steps_s: seconds of each timed step; none where there is an end.
      first_s: seconds of the first step, which traces and compiles.
      peak: bytes of the device's memory at the fullest moment.
      end: why nothing could be timed, empty where it could.
    """

    case: Case
    image_size: tuple[int, int]
    batch_size: int
    steps_s: tuple[float, ...] = ()
    first_s: float = 0.0
    peak: int = 0
    end: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What was asked for and is not among the rows, and why."""

    what: str
    why: str


def in_order(
    verb: str,
    model_names: Sequence[str],
    precisions: Sequence[str],
    xla: Sequence[bool],
    hparams: Mapping[str, object],
    batches: Batches,
) -> list[Case]:
    """Returns all combinations, what is nearest to the first of each first.

    So that an end of the time leaves something of everything.
    """
    places = itertools.product(
        range(len(model_names)), range(len(precisions)), range(len(xla))
    )
    return [
        Case(
            verb=verb,
            model_name=model_names[model],
            precision=precisions[precision],
            use_xla=xla[compiled],
            hparams=hparams,
            batches=batches,
        )
        for model, precision, compiled in sorted(
            places, key=lambda place: (sum(place), place)
        )
    ]


class Sweep:
    """Which batch size comes next."""

    def __init__(self, batches: Batches) -> None:
        self._doubles = not batches.sizes
        self._left = sorted(batches.sizes)
        self._most = batches.most
        self._last: int | None = None
        if self._doubles:
            self._left = [batches.first]

    def next(self) -> int | None:
        """Returns the next batch size, None when there is no more."""
        return self._left[0] if self._left else None

    def left(self) -> list[int]:
        """Returns what was asked for and not tried."""
        return list(self._left)

    def tell(self, fits: bool) -> None:
        """Says whether the last batch size had enough memory."""
        size, last = self._left.pop(0), self._last
        self._last = size
        if not self._doubles:
            return
        if fits and (last is None or size > last):
            self._left = [2 * size] if 2 * size <= self._most else []
        elif not fits and (last is None or size < last):
            self._left = [size // 2] if size > 1 else []
