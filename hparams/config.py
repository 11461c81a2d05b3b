"""What can be set: frozen, typed sections, checked when made.

Every leaf name is unique over all sections, so the flat names of the official
EfficientDet work.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import ClassVar

from hparams import leaf, sections_model, sections_run

HParamError = leaf.HParamError

Model = sections_model.Model
Anchors = sections_model.Anchors
Data = sections_model.Data
Augment = sections_model.Augment
Loss = sections_model.Loss
Optimizer = sections_run.Optimizer
Train = sections_run.Train
Nms = sections_run.Nms
Eval = sections_run.Eval
Runtime = sections_run.Runtime

BACKBONES = sections_model.BACKBONES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All sections; made by get_config and override, not by hand."""

    model: Model = dataclasses.field(default_factory=Model)
    anchors: Anchors = dataclasses.field(default_factory=Anchors)
    data: Data = dataclasses.field(default_factory=Data)
    augment: Augment = dataclasses.field(default_factory=Augment)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    train: Train = dataclasses.field(default_factory=Train)
    nms: Nms = dataclasses.field(default_factory=Nms)
    eval: Eval = dataclasses.field(default_factory=Eval)
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    SECTIONS: ClassVar[Mapping[str, type[leaf.Section]]]

    def __post_init__(self) -> None:
        for name, kind in self.SECTIONS.items():
            if type(getattr(self, name)) is not kind:
                raise leaf.HParamError(
                    f"Section {name!r} is {getattr(self, name)!r}, expected"
                    f" {kind.__name__}."
                )


_HINTS = typing.get_type_hints(Config)
Config.SECTIONS = {f.name: _HINTS[f.name] for f in dataclasses.fields(Config)}

# Every hyper-parameter by its name, in the order of declaration.
LEAVES: Mapping[str, leaf.Leaf] = {
    found.name: found
    for section, kind in Config.SECTIONS.items()
    for found in leaf.leaves_of(section, kind)
}
