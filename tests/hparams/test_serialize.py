"""JSON out and in, differences, the table, and values as text."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from hparams import config, leaf, override, presets, serialize

BASE = config.Config()
PAIRS = (
    ("min_level", "max_level"),
    ("jitter_min", "jitter_max"),
    ("loss_scale_floor", "loss_scale_start"),
    ("first_lr_drop_epoch", "second_lr_drop_epoch"),
)


def _scalars(hint: Any, limits: leaf.Limits) -> Any:
    """Returns a strategy of values of a type within limits."""
    if hint is bool:
        return strategies.booleans()
    if hint is str:
        words = ("", "box", "(efficientnet|fpn_cells)")
        return strategies.sampled_from(limits.choices or words)
    low = limits.above if limits.at_least is None else limits.at_least
    if hint is int:
        high = limits.at_most or 2**40
        return strategies.integers(int(low or 0), int(high))
    return strategies.floats(
        low,
        limits.at_most,
        exclude_min=limits.above is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _values(found: leaf.Leaf) -> Any:
    if found.name in ("image_size", "mean_rgb", "stddev_rgb"):
        count = len(found.default)  # type: ignore[arg-type]
        item = int if found.name == "image_size" else float
        return strategies.tuples(*[_scalars(item, found.limits)] * count)
    number = _scalars(float, found.limits)
    if found.name == "aspect_ratios":
        shape = number | strategies.tuples(number, number)
        return strategies.lists(shape, min_size=1).map(tuple)
    if found.name == "anchor_scale":  # cut to the number of levels in _chosen
        return number | strategies.tuples(*[number] * 7)
    return _scalars(found.hint, found.limits)


@strategies.composite
def _chosen(draw: Any) -> dict[str, Any]:
    names = draw(strategies.sets(strategies.sampled_from(list(config.LEAVES))))
    for low, high in PAIRS:
        if {low, high} & names:
            names |= {low, high}
    chosen = {name: draw(_values(config.LEAVES[name])) for name in names}
    for low, high in PAIRS:
        if low in chosen:
            chosen[low], chosen[high] = sorted((chosen[low], chosen[high]))
    if chosen.get("freeze_epochs"):  # of what is frozen
        chosen["var_freeze_expr"] = "class"
    # Sorting the levels keeps them in range: 3 to 5 and 5 to 9 meet in 5.
    if isinstance(chosen.get("anchor_scale"), tuple):
        low = chosen.setdefault("min_level", BASE.anchors.min_level)
        high = chosen.setdefault("max_level", BASE.anchors.max_level)
        chosen["anchor_scale"] = chosen["anchor_scale"][: high - low + 1]
    return chosen


FEW = hypothesis.settings(
    max_examples=60, deadline=None, database=None, derandomize=True
)


@FEW
@hypothesis.given(_chosen())
def test_what_is_set_comes_back_from_json_and_from_text(
    chosen: dict[str, Any],
) -> None:
    made = override.override(BASE, chosen)
    for name, value in chosen.items():
        section = getattr(made, config.LEAVES[name].section)
        assert getattr(section, name) == value
    assert serialize.from_json(serialize.to_json(made)) == made
    text = ",".join(
        f"{name}={serialize.to_text(name, value)}"
        for name, value in chosen.items()
    )
    assert override.override(BASE, text) == made
    as_json: dict[str, Any] = json.loads(serialize.to_json(made))
    assert override.override(BASE, as_json) == made


@FEW
@hypothesis.given(_chosen(), _chosen())
def test_diff_lists_exactly_what_differs(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    a = override.override(BASE, first)
    b = override.override(BASE, second)
    found = serialize.diff(a, b)
    assert (found == []) == (a == b)
    values = {d.name: d.b for d in found}
    assert override.override(a, values) == b


def test_types_come_back() -> None:
    made = serialize.from_json(serialize.to_json(BASE))
    for found in config.LEAVES.values():
        value = getattr(getattr(made, found.section), found.name)
        assert type(value) is type(found.default)
    assert type(made.data.image_size) is tuple


def test_json_is_sections_of_names() -> None:
    found = json.loads(serialize.to_json(presets.get_config("efficientdet-d1")))
    assert found["data"]["image_size"] == [640, 640]
    assert found["optimizer"]["optimizer"] == "sgd"
    assert list(found) == list(config.Config.SECTIONS)


def _changed(*path: str, value: object) -> str:
    found = json.loads(serialize.to_json(BASE))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            _changed("loss", "gama", value=1.5),
            "The config's section 'loss' has 'gama', which is no"
            " hyper-parameter of this version.",
        ),
        (
            _changed("loss", "gamma", value=None),
            "The config's section 'loss' lacks 'gamma'.",
        ),
        (_changed("nms", value=None), "The config's top level lacks 'nms'."),
        (
            _changed("extra", value={}),
            "The config's top level has 'extra', which is no hyper-parameter"
            " of this version.",
        ),
        (
            _changed("nms", value=[1]),
            "The config's section 'nms' is [1], expected an object.",
        ),
        (
            _changed("loss", "gamma", value="1.5"),
            "Hyper-parameter 'gamma' is '1.5', expected a number.",
        ),
        (
            _changed("train", "seed", value=-1),
            "Hyper-parameter 'seed' is -1, expected at least 0.",
        ),
        (
            _changed("loss", "gamma", value=float("nan")),
            "Hyper-parameter 'gamma' is nan, expected a finite number.",
        ),
        ("[]", "The config's top level is [], expected an object."),
        ('{"nms": 1, "nms": 2}', "The config has 'nms' twice."),
        ("[" * 100_000, "The config is nested too deeply."),
    ],
    ids=range(11),
)
def test_faulty_json(text: str, message: str) -> None:
    with pytest.raises(leaf.HParamError) as caught:
        serialize.from_json(text)
    assert str(caught.value) == message


def test_shapes_and_scales_are_shown_and_saved_as_they_were_written() -> None:
    for shapes, scale in (
        ("[1.0,2.0,0.5]", "4.0"),
        ("[[1.0,1.0],[1.4,0.7]]", "[4.0,4.0,3.0,5.0,4.0]"),
        ("[1.0,[1.4,0.7]]", "3.5"),
    ):
        made = override.override(
            BASE, f"aspect_ratios={shapes},anchor_scale={scale}"
        )
        table = serialize.describe(made).split()
        assert table[table.index("aspect_ratios") + 1] == shapes
        assert table[table.index("anchor_scale") + 1] == scale
        saved = json.loads(serialize.to_json(made))["anchors"]
        assert saved["aspect_ratios"] == json.loads(shapes)
        assert saved["anchor_scale"] == json.loads(scale)
        assert serialize.from_json(serialize.to_json(made)) == made


def test_no_json_says_where() -> None:
    with pytest.raises(leaf.HParamError) as caught:
        serialize.from_json('{"nms": ')
    assert str(caught.value).startswith("The config is not JSON: ")
    assert "line 1 column 9" in str(caught.value)
    with pytest.raises(leaf.HParamError, match="The config is not JSON: "):
        serialize.from_json('{"nms": ' + "9" * 5000 + "}")


def test_differences_read_as_they_are_written() -> None:
    other = override.override(
        BASE, "image_size=960x512,per_class=no,learning_rate=0.04,mean_rgb=127"
    )
    found = serialize.diff(BASE, other)
    assert [str(d) for d in found] == [
        "data.image_size: 512x512 -> 960x512",
        "data.mean_rgb: [123.675,116.28,103.53] -> [127.0,127.0,127.0]",
        "optimizer.learning_rate: 0.08 -> 0.04",
        "nms.per_class: true -> false",
    ]
    assert found[2] == ("optimizer.learning_rate", 0.08, 0.04)


def test_table_marks_what_differs_from_the_base() -> None:
    made = override.override(BASE, "image_size=960x512,seed=7")
    lines = serialize.describe(made, BASE).splitlines()
    assert len(lines) == len(config.LEAVES)
    marked = [line for line in lines if line.startswith("*")]
    assert [line.split() for line in marked] == [
        ["*", "data", "image_size", "960x512", "(was", "512x512)"],
        ["*", "seed", "7", "(was", "0)"],
    ]
    # Values stand in one column, and each section is named once.
    column = lines[0].index("efficientnet-b0")
    assert all(line[column - 1] == " " != line[column] for line in lines)
    for section in config.Config.SECTIONS:
        assert sum(line[2:].startswith(section) for line in lines) == 1


def test_table_without_a_base_marks_nothing() -> None:
    assert "*" not in serialize.describe(BASE, None)
    assert "(was" not in serialize.describe(BASE, BASE)
