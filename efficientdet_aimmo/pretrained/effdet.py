"""State dicts of Ross Wightman's effdet, its networks ported from TensorFlow.

Those are `tf_efficientdet_d0` to `tf_efficientdet_d7x` and
`tf_efficientdet_lite0` to `lite4`: the official network with other names. Keys
as in effdet 0.4.1 and timm 1.0. Arrays alone, no PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from efficientdet_aimmo.pretrained import source, torch_layout
from tfrecord_tools import command

# Every effdet network with separable convolutions has it.
MARK = "box_net.conv_rep.0.conv_pw.weight"

_STEM = r"[^/]+/stem/"
_BLOCK = r"[^/]+/blocks_(?P<block>\d+)/"
_BLOCK_KEY = "backbone.blocks.{stage}.{place}."
_NODE = r"fpn_cells/cell_(?P<cell>\d+)/fnode(?P<node>\d+)"
_NODE_KEY = "fpn.cell.{cell}.fnode.{node}."
_RESAMPLE = _NODE + r"/resample_\d+_(?P<source>\d+)_\d+/"
_HEAD = r"(?P<head>class|box)_net/(?P=head)-"
_REPEAT = _HEAD + r"(?P<repeat>\d+)"

_MODULES = torch_layout.compile_modules(
    [
        (_STEM + "conv2d", "backbone.conv_stem.{leaf}"),
        (_STEM + "tpu_batch_normalization", "backbone.bn1.{leaf}"),
        # Norms are counted alike with and without an expansion, and the first
        # 1x1 convolution has one name whether it expands or projects.
        (_BLOCK + "conv2d", _BLOCK_KEY + "conv_pw.{leaf}"),
        (_BLOCK + "conv2d_1", _BLOCK_KEY + "conv_pwl.{leaf}"),
        (_BLOCK + "depthwise_conv2d", _BLOCK_KEY + "conv_dw.{leaf}"),
        (_BLOCK + "tpu_batch_normalization", _BLOCK_KEY + "bn1.{leaf}"),
        (_BLOCK + "tpu_batch_normalization_1", _BLOCK_KEY + "bn2.{leaf}"),
        (_BLOCK + "tpu_batch_normalization_2", _BLOCK_KEY + "bn3.{leaf}"),
        (_BLOCK + "se/conv2d", _BLOCK_KEY + "se.conv_reduce.{leaf}"),
        (_BLOCK + "se/conv2d_1", _BLOCK_KEY + "se.conv_expand.{leaf}"),
        (
            r"resample_p(?P<level>\d+)/conv2d",
            "fpn.resample.{level}.conv.conv.{leaf}",
        ),
        (
            r"resample_p(?P<level>\d+)/bn",
            "fpn.resample.{level}.conv.bn.{leaf}",
        ),
        (_NODE, _NODE_KEY + "combine.edge_weights"),
        (
            _RESAMPLE + "conv2d",
            _NODE_KEY + "combine.resample.{source}.conv.conv.{leaf}",
        ),
        (
            _RESAMPLE + "bn",
            _NODE_KEY + "combine.resample.{source}.conv.bn.{leaf}",
        ),
        (
            _NODE + r"/op_after_combine\d+/conv",
            _NODE_KEY + "after_combine.conv.conv_{half[0]}w.{leaf}",
        ),
        (
            _NODE + r"/op_after_combine\d+/bn",
            _NODE_KEY + "after_combine.conv.bn.{leaf}",
        ),
        (_REPEAT, "{head}_net.conv_rep.{repeat}.conv_{half[0]}w.{leaf}"),
        (_HEAD + "predict", "{head}_net.predict.conv_{half[0]}w.{leaf}"),
        (_REPEAT + r"-bn-(?P<level>\d+)", "{head}_net.bn_rep.{norm}.{leaf}"),
    ]
)
_LEFT_OUT = (
    (re.compile(r".*\.num_batches_tracked"), "counter"),
    (re.compile(r"(.*\.)?anchors\.boxes"), "anchors, not learnt"),
)
_STATE_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.(\d+)\..*")
_PROJECTION = re.compile(_BLOCK + r"(conv2d|conv2d_1)/kernel")


def _places(
    names: Iterable[str],
    blocks: Sequence[tuple[int, int]],
    is_level_first: bool,
) -> dict[str, torch_layout.Place]:
    """Returns where each variable is kept, of those that have a counterpart.

    Args:
      names: of all variables of one network.
      blocks: stage and place in it of each block of the backbone.
      is_level_first: norms of the heads are listed by level, then by repeat.
    """
    names = list(names)
    finest = min(torch_layout.levels(names), default=0)

    def describe(groups: Mapping[str, str]) -> dict[str, object] | None:
        fields: dict[str, object] = dict(groups)
        if "block" in groups:
            block = int(groups["block"])
            if block >= len(blocks):
                return None
            fields["stage"], fields["place"] = blocks[block]
        if "level" in groups:
            level = int(groups["level"]) - finest
            fields["level"] = level
            repeat = groups.get("repeat")
            fields["norm"] = f"{repeat}.{level}.bn"
            if is_level_first:
                fields["norm"] = f"{level}.{repeat}"
        return fields

    found = {n: torch_layout.find_place(n, _MODULES, describe) for n in names}
    return {name: place for name, place in found.items() if place is not None}


def _refuse_own_networks(state: Mapping[str, np.ndarray]) -> None:
    missing = MARK.replace("weight", "bias")
    if missing not in state:
        raise command.UserError(
            command.ExitCode.DATA,
            f"These are weights of one of effdet's own networks ({missing!r} is"
            " missing), which do not come from TensorFlow: they pad and"
            " normalise in another way, so that the weights would detect worse"
            " here without a word. Expected a network whose name begins with"
            " tf_, such as tf_efficientdet_d0; use that one.",
        )


def to_official(
    state: Mapping[str, np.ndarray], names: Sequence[str]
) -> source.Source:
    """Returns the detector's variables out of effdet's state dict.

    Args:
      state: arrays by key, kernels as [out, in, height, width].
      names: the detector's variables, official, without ':0'.

    Raises:
      UserError: one of effdet's own networks, or an array with other axes.
    """
    _refuse_own_networks(state)
    matches = (_STATE_BLOCK.fullmatch(key) for key in state)
    blocks = sorted({(int(m[1]), int(m[2])) for m in matches if m})
    # The form after effdet's toggle_head_bn_level_first.
    is_level_first = "box_net.bn_rep.0.0.weight" in state
    places = _places(names, blocks, is_level_first)
    unused, left_out = torch_layout.sort_out(state, places.values(), _LEFT_OUT)
    return source.Source(
        form="effdet state dict (PyTorch)",
        values=torch_layout.take(state, places),
        unused=unused,
        left_out=left_out,
        is_average=False,
    )


def _blocks(values: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
    """Returns stage and place in it of each block.

    A stage is where the channels that blocks put out stay the same: no two
    stages in a row have as many (table 1 of the EfficientNet paper).
    """
    channels: dict[int, int] = {}
    for name in sorted(values):  # conv2d_1 after conv2d: the projection
        match = _PROJECTION.fullmatch(name)
        if match:
            channels[int(match["block"])] = values[name].shape[-1]
    blocks: list[tuple[int, int]] = []
    for block in range(len(channels)):
        if block == 0:
            blocks.append((0, 0))
            continue
        stage, place = blocks[-1]
        if channels[block] == channels[block - 1]:
            blocks.append((stage, place + 1))
        else:
            blocks.append((stage + 1, 0))
    return blocks


def from_official(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns effdet's state dict of all variables of a detector.

    Counters of batches are not in it; PyTorch sets missing ones to 0.

    Raises:
      KeyError: a variable has no counterpart in effdet.
    """
    places = _places(values, _blocks(values), is_level_first=False)
    for name in values:
        if name not in places:
            raise KeyError(name)
    return torch_layout.put(values, places)
