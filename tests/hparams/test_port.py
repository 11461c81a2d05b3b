"""Project files of the PyTorch port: what they say, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hparams import config, leaf, override, port

# The port's own projects/coco.yml, with fewer classes.
COCO: dict[Any, object] = {
    "project_name": "coco",
    "train_set": "train2017",
    "val_set": "val2017",
    "num_gpus": 4,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "anchors_scales": "[2 ** 0, 2 ** (1.0 / 3.0), 2 ** (2.0 / 3.0)]",
    "anchors_ratios": "[(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]",
    "obj_list": ["person", "bicycle", "traffic light"],
}


def _message(given: Any) -> str:
    with pytest.raises(leaf.HParamError) as caught:
        port.translate(given)
    return str(caught.value)


def test_the_ports_own_project() -> None:
    found = port.translate(COCO)
    assert found.names == ("person", "bicycle", "traffic light")
    made = override.override(config.Config(), found.values)
    # mean and std are the presets': the same decimals times 255.
    expected = override.override(
        config.Config(), "aspect_ratios=[[1,1],[1.4,0.7],[0.7,1.4]]"
    )
    assert made == expected
    assert set(found.values) == {
        "mean_rgb",
        "stddev_rgb",
        "num_scales",
        "aspect_ratios",
    }


def test_every_key_is_told_of() -> None:
    assert port.translate(COCO).notices == (
        "a project file of the PyTorch port, read as"
        " mean_rgb=[123.675,116.28,103.53],stddev_rgb=[58.395,57.12,57.375],"
        "num_scales=3,aspect_ratios=[[1.0,1.0],[1.4,0.7],[0.7,1.4]],"
        "label_map=[person,bicycle,traffic light]",
        "project_name (coco) is not used: the run's folder is --model_dir.",
        "train_set (train2017) is not used: the training records are"
        " --train_file_pattern.",
        "val_set (val2017) is not used: the validation records are"
        " --val_file_pattern.",
        "num_gpus (4) is not used: a run uses one GPU, with --strategy=gpus all"
        " that CUDA_VISIBLE_DEVICES shows, and without any the CPU with"
        " --allow_cpu.",
    )
    assert set(COCO) == set(port.KEYS)


def test_a_part_of_a_project() -> None:
    assert port.translate({"project_name": "a"}) == (
        {},
        None,
        (
            "a project file of the PyTorch port, nothing in it is used",
            "project_name (a) is not used: the run's folder is --model_dir.",
        ),
    )
    found = port.translate({"mean": 0.5, "std": "0.5", "obj_list": "[a, b]"})
    assert found.values == {
        "mean_rgb": (127.5,) * 3,
        "stddev_rgb": (127.5,) * 3,
    }
    assert found.names == ("a", "b")


def test_a_project_is_known_by_its_keys() -> None:
    for key in port.KEYS:
        assert port.is_project({"seed": 1, key: None})
        assert not override.is_name(key)
    assert not port.is_project({"seed": 1, "label_map": ["car"]})
    assert not port.is_project({})


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("[1]", 1),
        ("(2 ** 0, 2 ** 0.5)", 2),
        ([1, "2 ** (1 / 2)"], 2),
        ([1.0, 1.259921, 1.587401], 3),
        ("[2**0, 2**0.25, 2**0.5, 2**0.75]", 4),
    ],
)
def test_octaves(given: object, count: int) -> None:
    assert port.translate({"anchors_scales": given}).values == {
        "num_scales": count
    }


@pytest.mark.parametrize(
    "given",
    [
        "[(1.0, 1.0), (2.8, 0.7)]",
        "((1, 1), (28 / 10, 0.7))",
        [[1, 1.0], [2.8, "0.7"]],
        ["(1, 1)", "(2.8, 0.7)"],
    ],
)
def test_shapes(given: object) -> None:
    found = port.translate({"anchors_ratios": given})
    assert found.values == {"aspect_ratios": ((1.0, 1.0), (2.8, 0.7))}


@pytest.mark.parametrize("key", ["mean", "std"])
@pytest.mark.parametrize(
    "value", [None, [0.5, 0.5], [1, 2, 3], [123.0] * 3, ["a"] * 3, -0.1, "nan"]
)
def test_mean_and_std_that_are_none(key: str, value: object) -> None:
    message = _message({key: value})
    assert message.startswith(f"{key} is {value!r}, expected 3 numbers ")
    assert message.endswith(" pixels are 0 to 1 in the port.")


def test_no_deviation_divides_by_zero() -> None:
    assert port.translate({"mean": 0}).values == {"mean_rgb": (0.0, 0.0, 0.0)}
    assert _message({"std": [0, 1, 1]}).startswith("std is [0, 1, 1], expected")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"anchors_scales": "[1, 1.5]"},
            "anchors_scales is '[1, 1.5]', expected a list of 2 ** (i / n) for"
            " i from 0 to n - 1 (2: [1.0, 1.4142135623730951]). There are no"
            " other scales here. Found (1.0, 1.5).",
        ),
        (
            {"anchors_scales": "[1, 2 ** 0.5 + 0.00001]"},
            "expected a list of 2 ** (i / n)",
        ),
        (
            {"anchors_scales": "[2 ** 0.5, 1]"},
            "expected a list of 2 ** (i / n)",
        ),
        (
            {"anchors_scales": "[]"},
            "anchors_scales is '[]', expected a list of 2 ** (i / n) for i from"
            " 0 to n - 1. There are no other scales here. Found ().",
        ),
        ({"anchors_scales": "1"}, "expected a list of 2 ** (i / n)"),
        ({"anchors_scales": "[[1]]"}, "expected a list of 2 ** (i / n)"),
        (
            {"anchors_scales": "[2 ** x]"},
            "anchors_scales has 'x', which is no number, expected numbers with"
            " + - * / ** in lists, the whole in quotes.",
        ),
        (
            {"anchors_scales": None},
            "anchors_scales is None, expected numbers in lists.",
        ),
        ({"anchors_scales": [True]}, "is True, expected numbers in lists."),
        (
            {"anchors_ratios": ["(1.0", "1.0)"]},  # YAML without the quotes
            "anchors_ratios has '(1.0', which cannot be read, expected numbers"
            " with + - * / ** in lists, the whole in quotes.",
        ),
        (
            {"anchors_ratios": "[1.0, 2.0]"},
            "anchors_ratios is '[1.0, 2.0]', expected a list of pairs of"
            " numbers above 0, [(1.0, 1.0), (1.4, 0.7)], in quotes.",
        ),
        ({"anchors_ratios": "[(1, 1, 1)]"}, "expected a list of pairs"),
        ({"anchors_ratios": "[(1, (1, 1))]"}, "expected a list of pairs"),
        ({"anchors_ratios": "[(1, 0)]"}, "expected a list of pairs"),
        ({"anchors_ratios": "(1, 1)"}, "expected a list of pairs"),
        ({"anchors_ratios": "[]"}, "expected a list of pairs"),
        (
            {"obj_list": ["person", "", "car", ""]},
            "obj_list has no name at place 2, 4. The class ids of records have"
            " no gaps: list the records' classes and nothing between them.",
        ),
        ({"obj_list": ["car", "car"]}, "obj_list has 'car' twice."),
        ({"obj_list": ["car", True]}, "obj_list has the name True, expected"),
        ({"obj_list": []}, "obj_list is empty, expected the class names."),
        (
            {"obj_list": {1: "car"}},
            "obj_list is {1: 'car'}, expected a list of the class names.",
        ),
        (
            {"obj_list": "car"},
            "obj_list is 'car', expected a list of the class names.",
        ),
        (
            {**COCO, "obj_lst": ["car"]},
            "A project of the PyTorch port has no key 'obj_lst'. Did you mean"
            " 'obj_list'?",
        ),
        (
            {**COCO, 7: 1},
            "A project of the PyTorch port has no key 7. Known: mean, std,"
            " anchors_scales, anchors_ratios, obj_list, project_name,"
            " train_set, val_set, num_gpus.",
        ),
        (
            {"learning_rate": 0.1, "mean": 0.5},
            "'mean' is a key of the PyTorch port's projects, 'learning_rate' a"
            " hyper-parameter of this package: a file holds the one or the"
            " other. Give the project as it is and the others behind it:"
            " --hparams=FILE.yml,learning_rate=VALUE.",
        ),
    ],
)
def test_message(given: Any, message: str) -> None:
    assert message in _message(given)


@pytest.mark.parametrize(
    "ours", ["label_map", "nms_configs", "anchors", "nms.sigma", "grid_mask"]
)
def test_both_kinds_of_keys_in_one_file(ours: str) -> None:
    assert f"{ours!r} a hyper-parameter of" in _message({**COCO, ours: 1})
