"""From what is asked for to what is measured, with what nobody said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from efficientdet_aimmo.benching import cases as cases_lib

XLA = {"off": [False], "on": [True], "both": [False, True]}
INPUT_BATCH = 8
# Where batch sizes begin to be doubled and where that ends, by whether there is
# a GPU.
DOUBLED = {True: (4, 1 << 12), False: (1, 4)}


class Asked(NamedTuple):
    """What is compared where nobody says it."""

    model_names: Sequence[str]
    precisions: Sequence[str]
    xla: str


# All that there is to compare, or what a CPU can do in the time.
ON_GPU = Asked(
    [f"efficientdet-d{number}" for number in range(5)],
    ["float16", "float32"],
    "both",
)
ON_CPU = Asked(["efficientdet-d0"], ["float32"], "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; None, or no batch size, where nobody says it.

    Attributes:
      verb: train, infer or input.
      model_names: networks.
      precisions: of training.
      xla: off, on or both, of training.
      batch_sizes: images of a step.
      hparams: further settings of all networks.
    """

    verb: str
    model_names: Sequence[str] | None
    precisions: Sequence[str] | None
    xla: str | None
    batch_sizes: Sequence[int]
    hparams: Mapping[str, object]


def cases_of(request: Request, has_gpu: bool) -> list[cases_lib.Case]:
    """Returns what is measured, the most important first."""
    default = ON_GPU if has_gpu else ON_CPU
    precisions: Sequence[str] = [""]
    xla = [False]
    if request.verb == "train":
        precisions = request.precisions or default.precisions
        xla = XLA[request.xla or default.xla]
    sizes = tuple(request.batch_sizes)
    if request.verb == "input" and not sizes:
        sizes = (INPUT_BATCH,)
    first, most = DOUBLED[has_gpu]
    return cases_lib.in_order(
        request.verb,
        request.model_names or default.model_names,
        precisions,
        xla,
        request.hparams,
        cases_lib.Batches(sizes=sizes, first=first, most=most),
    )


def left_by_default(request: Request, has_gpu: bool) -> list[cases_lib.LeftOut]:
    """Returns what a GPU would have been asked for, and a CPU is not."""
    if has_gpu or request.verb == "input":
        return []
    left = []
    if request.model_names is None:
        left.append(("efficientdet-d1 to d4", "--model_name"))
    if not request.batch_sizes:
        left.append((f"batches above {DOUBLED[False][1]}", "--batch_sizes"))
    if request.verb == "train" and request.precisions is None:
        left.append(("float16", "--precision"))
    if request.verb == "train" and request.xla is None:
        left.append(("steps compiled by XLA", "--xla"))
    return [
        cases_lib.LeftOut(
            what=what, why=f"on a CPU only with {flag}, and more --seconds"
        )
        for what, flag in left
    ]
