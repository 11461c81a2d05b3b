"""What is frozen stands still, and is thawed when it is said to be."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import freezing
from efficientdet_aimmo.training import gradients as gradients_lib
from tests.training import tiny
from tfrecord_tools import command

# Four steps an epoch: 8 images, 2 at a time.
STAGED = (
    "var_freeze_expr=(efficientnet|fpn_cells|resample_p),freeze_epochs=0.5,"
    "optimizer=adam,moving_average_decay=0.9,weight_decay=0"
)


def _is_backbone(name: str) -> bool:
    name = name.split("/", 2)[2] if name.startswith("optimizer/") else name
    return name.startswith(("efficientnet", "fpn_cells", "resample_p"))


def test_frozen_parts_wait_for_the_thaw_with_all_their_state() -> None:
    trainer = tiny.Trainer(STAGED)
    start = trainer.values()
    for _ in range(2):
        trainer.step(tiny.batch())
    frozen = trainer.values()
    for name, value in start.items():
        if _is_backbone(name):
            np.testing.assert_array_equal(frozen[name], value, err_msg=name)
    heads = {n: v for n, v in frozen.items() if "net/class-0/point" in n}
    # The weights, their average and Adam's two moments.
    assert len(heads) == 4
    assert all((value != start[name]).any() for name, value in heads.items())

    found = gradients_lib.compute_gradients(
        trainer.state,
        tiny.batch(),
        trainer.anchors,
        trainer.config,
        frozenset(),
    )
    trainer.step(tiny.batch())
    thawed = trainer.values()
    stem = {n: v for n, v in thawed.items() if "stem/conv2d/kernel" in n}
    assert len(stem) == 4
    assert all((value != start[name]).any() for name, value in stem.items())
    mean = "efficientnet-lite0/stem/tpu_batch_normalization/moving_mean"
    assert (thawed[mean] != start[mean]).any()
    # What is thawed begins like anything else with Adam: a first step of the
    # rate, whatever the gradient, and not of several times the rate.
    kernel = "efficientnet-lite0/stem/conv2d/kernel"
    moved = np.abs(thawed[kernel] - frozen[kernel])
    np.testing.assert_allclose(np.quantile(moved, 0.9), 0.01, rtol=0.01)
    # Adam goes on where it was: the old moment, moved by a tenth.
    (moment,) = [n for n in heads if n.endswith("/m")]
    (place,) = [
        i
        for i, variable in enumerate(trainer.state.trainable)
        if f"/{variable.name.removesuffix(':0')}/m" in moment
    ]
    scale = min(1.0, 10.0 / float(tf.linalg.global_norm(found.values)))
    np.testing.assert_allclose(
        thawed[moment],
        0.9 * frozen[moment] + 0.1 * scale * found.values[place],
        rtol=1e-3,
        atol=1e-6,
    )


def test_what_is_never_trained_has_no_place_in_the_optimizer() -> None:
    trainer = tiny.Trainer("var_freeze_expr=efficientnet,optimizer=adam")
    names = list(trainer.values())
    assert not [n for n in names if "optimizer" in n and "efficientnet" in n]
    before = trainer.values()
    trainer.step(tiny.batch())
    after = trainer.values()
    for name, value in before.items():
        is_still = name.startswith("efficientnet")
        if is_still:
            np.testing.assert_array_equal(after[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (
            "stem",  # inside the name, not at its start
            "var_freeze_expr=stem matches no variable: nothing would be frozen."
            " It is matched from the start of the name; names begin with"
            " efficientnet-lite0, resample_p6, fpn_cells,"
            " class_net, box_net.",
        ),
        (
            ".*",
            "var_freeze_expr=.* matches all variables: nothing would be"
            " trained. Name the parts that are to stand still, as"
            " (efficientnet|fpn_cells|resample_p).",
        ),
    ],
)
def test_expression_that_makes_no_sense(expression: str, words: str) -> None:
    with pytest.raises(command.UserError) as caught:
        tiny.Trainer(f"var_freeze_expr={expression}")
    assert caught.value.exit_code == command.ExitCode.USAGE
    assert str(caught.value) == words


def test_line_that_says_what_is_frozen() -> None:
    trainer = tiny.Trainer("var_freeze_expr=resample_p6")
    variables = trainer.state.detector.all_variables
    # 320 x 16 kernel, 16 bias, 16 gamma, 16 beta; two statistics.
    assert freezing.describe(trainer.state.frozen, variables, 0) == (
        "Frozen in the whole run: 4 variables with 5,168 numbers, and 2 moving"
        " statistics."
    )
    assert "until step 7:" in freezing.describe(
        trainer.state.frozen, variables, 7
    )
