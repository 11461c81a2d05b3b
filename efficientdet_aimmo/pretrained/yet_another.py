"""State dicts of zylo117's Yet-Another-EfficientDet-Pytorch, D0 to D7x.

The official network with other names. Arrays alone, no PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from efficientdet_aimmo.pretrained import source, torch_layout

# Every network of this port has it.
MARK = "regressor.header.pointwise_conv.conv.weight"

_STEM = r"[^/]+/stem/"
_STEM_KEY = "backbone_net.model."
_BLOCK = r"[^/]+/blocks_(?P<block>\d+)/"
_BLOCK_KEY = "backbone_net.model._blocks.{block}."
_NODE = r"fpn_cells/cell_(?P<cell>\d+)/fnode(?P<node>\d+)"
_RESAMPLE = _NODE + r"/resample_\d+_(?P<source>\d+)_\d+/"
_RESAMPLE_KEY = "bifpn.{cell}.p{source}_down_channel{suffix}."
_COMBINE_KEY = "bifpn.{cell}.conv{level}_{way}."
_HEAD = r"(?P<head>class|box)_net/(?P=head)-"
_REPEAT = _HEAD + r"(?P<repeat>\d+)"
_HALF_KEY = "{half}_conv.conv.{leaf}"

_MODULES = torch_layout.compile_modules(
    [
        (_STEM + "conv2d", _STEM_KEY + "_conv_stem.conv.{leaf}"),
        (_STEM + "tpu_batch_normalization", _STEM_KEY + "_bn0.{leaf}"),
        (_BLOCK + "conv2d", _BLOCK_KEY + "_{first}_conv.conv.{leaf}"),
        (_BLOCK + "conv2d_1", _BLOCK_KEY + "_project_conv.conv.{leaf}"),
        (
            _BLOCK + "depthwise_conv2d",
            _BLOCK_KEY + "_depthwise_conv.conv.{leaf}",
        ),
        (
            _BLOCK + r"tpu_batch_normalization(_(?P<norm>\d+))?",
            _BLOCK_KEY + "_bn{norm}.{leaf}",
        ),
        (_BLOCK + "se/conv2d", _BLOCK_KEY + "_se_reduce.conv.{leaf}"),
        (_BLOCK + "se/conv2d_1", _BLOCK_KEY + "_se_expand.conv.{leaf}"),
        ("resample_p6/conv2d", "bifpn.0.p5_to_p6.0.conv.{leaf}"),
        ("resample_p6/bn", "bifpn.0.p5_to_p6.1.{leaf}"),
        (_NODE, "bifpn.{cell}.p{level}_{weights}"),
        (_RESAMPLE + "conv2d", _RESAMPLE_KEY + "0.conv.{leaf}"),
        (_RESAMPLE + "bn", _RESAMPLE_KEY + "1.{leaf}"),
        (_NODE + r"/op_after_combine\d+/conv", _COMBINE_KEY + _HALF_KEY),
        (_NODE + r"/op_after_combine\d+/bn", _COMBINE_KEY + "bn.{leaf}"),
        (_REPEAT, "{module}.conv_list.{repeat}." + _HALF_KEY),
        (_HEAD + "predict", "{module}.header." + _HALF_KEY),
        (
            _REPEAT + r"-bn-(?P<level>\d+)",
            "{module}.bn_list.{level}.{repeat}.{leaf}",
        ),
    ]
)
_SECOND_KERNEL = re.compile(_BLOCK + "conv2d_1/kernel")
_COUNTERS = (re.compile(r".*\.num_batches_tracked"), "counter")
_CLASSIFIER = (
    re.compile(r"backbone_net\.model\._(conv_head|bn1|fc)\..*"),
    "the backbone's own classifier",
)
_FUSION = (
    re.compile(r"bifpn\.\d+\.p\d+_w[12]"),
    "fusion weights, which networks from D6 on do not use",
)
# From D6 on the pyramid has eight cells, and features are added unweighted.
_EIGHTH_CELL = "bifpn.7.conv6_up.bn.weight"


def places(names: Sequence[str]) -> dict[str, torch_layout.Place]:
    """Returns where each variable is kept, of those that have a counterpart."""
    levels = torch_layout.levels(names)
    matches = (_SECOND_KERNEL.fullmatch(name) for name in names)
    expanding = {match["block"] for match in matches if match}

    def describe(groups: Mapping[str, str]) -> dict[str, object]:
        fields: dict[str, object] = dict(groups)
        if "block" in groups:
            # Blocks without an expansion have no convolution of that name,
            # and their first norm is the depthwise convolution's.
            expands = groups["block"] in expanding
            fields["first"] = "expand" if expands else "project"
            norm = int(groups.get("norm") or 0)
            fields["norm"] = norm if expands else norm + 1
        if "node" in groups:
            fields.update(_node(int(groups["node"]), levels))
        if "source" in groups:
            fields["source"] = levels[int(groups["source"])]
        if "head" in groups:
            is_class = groups["head"] == "class"
            fields["module"] = "classifier" if is_class else "regressor"
        if "repeat" in groups and "level" in groups:
            fields["level"] = int(groups["level"]) - levels[0]
        return fields

    found = {n: torch_layout.find_place(n, _MODULES, describe) for n in names}
    return {name: place for name, place in found.items() if place is not None}


def _node(node: int, levels: Sequence[int]) -> dict[str, object]:
    """Returns the level of a node and how this port names its parts.

    The first nodes go down from the second coarsest level to the finest, the
    others up again (figure 2d of the EfficientDet paper).
    """
    num_down = len(levels) - 1
    if node < num_down:
        level = levels[num_down - 1 - node]
        return {"level": level, "way": "up", "weights": "w1", "suffix": ""}
    level = levels[node - num_down + 1]
    return {"level": level, "way": "down", "weights": "w2", "suffix": "_2"}


def to_official(
    state: Mapping[str, np.ndarray], names: Sequence[str]
) -> source.Source:
    """Returns the detector's variables out of this port's state dict.

    Args:
      state: arrays by key, kernels as [out, in, height, width].
      names: the detector's variables, official, without ':0'.

    Raises:
      UserError: an array has other axes than it should.
    """
    found = places(names)
    reasons = [_COUNTERS, _CLASSIFIER]
    if _EIGHTH_CELL in state:
        reasons.append(_FUSION)
    unused, left_out = torch_layout.sort_out(state, found.values(), reasons)
    return source.Source(
        form="Yet-Another-EfficientDet-Pytorch state dict",
        values=torch_layout.take(state, found),
        unused=unused,
        left_out=left_out,
        is_average=False,
    )
