"""Every official key means the same here, or is refused with help."""

from __future__ import annotations

from typing import Any

import pytest

from hparams import config, leaf, official, official_keys, override

BASE = config.Config()

# Where the official default is refused, and what the message must name.
DEFAULT_REFUSED = {
    "name": "--model_name",
    "skip_mismatch": "error",
    "nms_configs.score_thresh": "nms_configs.score_thresh=0.001",
    "nms_configs.max_nms_inputs": "nms.max_nms_inputs=0",
}


def _message(given: Any) -> str:
    with pytest.raises(leaf.HParamError) as caught:
        override.override(BASE, given)
    return str(caught.value)


def _flat(defaults: dict[str, Any]) -> dict[str, Any]:
    flat = {k: v for k, v in defaults.items() if k != "nms_configs"}
    nested: dict[str, Any] = defaults["nms_configs"]
    return flat | {f"nms_configs.{k}": v for k, v in nested.items()}


def test_every_official_key_is_accounted_for(
    official_defaults: dict[str, Any],
) -> None:
    keys = list(official_keys.KEYS)
    assert len(keys) == len(set(keys))
    assert set(keys) == set(_flat(official_defaults))


def test_every_default_keeps_its_meaning_or_is_refused_with_help(
    official_defaults: dict[str, Any],
) -> None:
    for key, value in _flat(official_defaults).items():
        if key == "label_map":
            continue  # split off before, see test_official_label_map
        if key in DEFAULT_REFUSED:
            assert DEFAULT_REFUSED[key] in _message({key: value})
            continue
        made = override.override(BASE, {key: value})
        text = "null" if value is None else str(value)
        assert override.override(BASE, f"{key}={text}") == made, key
        found = config.LEAVES.get(key.rpartition(".")[2])
        if found is None or value is None:
            assert made == BASE, key
        elif key != "image_size":
            shown = getattr(getattr(made, found.section), found.name)
            expected = tuple(value) if isinstance(value, list) else value
            assert shown == expected, key


@pytest.mark.parametrize("key", official_keys.FIXED)
def test_fixed_key_refuses_another_value_in_one_line(key: str) -> None:
    for value in ("other", 7, [1], {"a": 1}, "maybe"):
        message = _message({key: value})
        assert message == (
            f"Official hyper-parameter {key!r} cannot be {value!r} here."
            f" {official_keys.FIXED[key].instead}"
        )
        assert "\n" not in message


@pytest.mark.parametrize("key", official_keys.FIXED)
def test_fixed_key_accepts_its_value_as_text_too(key: str) -> None:
    shown = official_keys.FIXED[key].shown()
    assert override.override(BASE, f"{key}={shown}") == BASE
    assert override.override(BASE, {key: shown}) == BASE


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "efficientdet-d2"}, "--model_name"),
        ({"strategy": "gpu"}, "'multi-gpus'"),
        ({"mixed_precision": "TRUE"}, "precision=float16"),
        ({"loss_scale": 128}, "loss_scale_start"),
        ({"autoaugment_policy": "v0"}, "input_rand_hflip"),
        ({"iou_loss_type": "eiou"}, "'ciou'"),
        ({"var_freeze_expr": "(efficientnet"}, "regular expression"),
        ({"freeze_epochs": 3}, "nothing is frozen"),
        ({"data_format": "channels_first"}, "[B, H, W, C]"),
        ({"heads": ["object_detection", "segmentation"]}, "segmentation"),
        ({"is_training_bn": False}, "Batch norm"),
        ({"img_summary_steps": 100}, "num_pictures"),
        ({"nms_configs": {"pyfunc": True}}, "graph"),
        ({"label_map": {1: "car"}}, "--hparams"),
    ],
)
def test_refusal_says_what_to_use(given: dict[str, object], words: str) -> None:
    assert words in _message(given)


@pytest.mark.parametrize("nothing", [None, "", "None", "null", "~"])
def test_not_set_leaves_the_presets_value(nothing: object) -> None:
    base = override.override(
        BASE,
        "fpn_weight_method=sum,survival_prob=0.5,sigma=0.3,iou_thresh=0.4,"
        "iou_loss_type=ciou,var_freeze_expr=box,strategy=gpus",
    )
    given = {
        "fpn_weight_method": nothing,
        "survival_prob": nothing,
        "iou_loss_type": nothing,
        "var_freeze_expr": nothing,
        "nms_configs": {"sigma": nothing, "iou_thresh": nothing},
        "strategy": nothing,
    }
    assert override.override(base, given) == base


def test_zero_that_means_something_else_is_refused() -> None:
    for zero in (0, 0.0, "0", "0.0", None):
        for key in ("score_thresh", "max_nms_inputs"):
            if key == "max_nms_inputs" and "." in str(zero):
                continue
            message = _message({"nms_configs": {key: zero}})
            assert f"cannot be {zero!r} here. 0 is refused: " in message
    made = override.override(
        BASE, "nms.score_thresh=0,nms.max_nms_inputs=0,per_class=no"
    )
    assert made.nms.score_thresh == 0.0
    assert made.nms.max_nms_inputs == 0


def test_a_type_error_stays_one_under_an_official_name() -> None:
    assert _message({"nms_configs": {"score_thresh": "low"}}) == (
        "Hyper-parameter 'score_thresh' is 'low', expected a number."
    )


def test_the_tutorials_settings_load(
    official_settings: dict[str, Any],
) -> None:
    given, names = official.split_label_map(official_settings["voc_config"])
    assert names is not None
    assert (len(names), names[0], names[-1]) == (20, "aeroplane", "tvmonitor")
    made = override.override(BASE, given)
    assert made.train.var_freeze_expr == "(efficientnet|fpn_cells|resample_p6)"
    assert made.optimizer.learning_rate == 0.8
    assert made.optimizer.lr_warmup_init == 0.08
    assert made.model.num_classes == 21
