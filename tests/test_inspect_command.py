"""The inspect command: its table, its JSON, and mistakes."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from efficientdet_aimmo import anchors, inspect, inspection
from hparams import override, presets
from tfrecord_tools import command, convert

SMALL = "fpn_num_filters=8,fpn_cell_repeats=1,box_class_repeats=1"
LITE0 = "efficientdet-lite0"


def _run(*arguments: str) -> int:
    return command.run(
        inspect.main,
        inspect.FLAGS,
        "",
        ["inspect", *arguments],
        positional="model_name",
    )


def _fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert _run(*arguments) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err
    return shown.err


@pytest.fixture(scope="module")
def found() -> inspection.Inspection:
    """A network with 7 classes for images 65 wide and 40 high."""
    config = override.override(
        presets.get_config(LITE0), f"{SMALL},num_classes=7,image_size=65x40"
    )
    return inspection.inspect(LITE0, config, "as given")


@pytest.fixture(autouse=True)
def _inspected_once(
    found: inspection.Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lets the command say of its own configuration what was found before."""
    monkeypatch.setattr(
        inspection,
        "inspect",
        lambda name, config, classes_from: dataclasses.replace(
            found, model_name=name, config=config, classes_from=classes_from
        ),
    )


def test_json(
    found: inspection.Inspection, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--image_size=65x40", "--json", "--batch_size=3"]
    assert _run(LITE0, f"--hparams={SMALL},num_classes=7", *arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model_name"] == LITE0
    assert content["image_size"] == {"height": 40, "width": 65}
    assert content["num_classes"] == 7
    assert content["num_classes_from"] == "as given"
    sizes = [(5, 9), (3, 5), (2, 3), (1, 2), (1, 1)]
    levels = content["levels"]
    assert [level["level"] for level in levels] == [3, 4, 5, 6, 7]
    for level, (height, width) in zip(levels, sizes, strict=True):
        assert level["feature_size"] == {"height": height, "width": width}
        assert level["stride"] == {"height": 40 / height, "width": 65 / width}
        assert level["num_anchors"] == 9 * height * width
    number = 9 * (45 + 15 + 6 + 2 + 1)
    config = presets.get_config(LITE0)
    assert number == len(anchors.anchor_boxes(config.anchors, (40, 65)))
    assert content["output_shapes"] == {
        "logits": [None, number, 7],
        "codes": [None, number, 4],
    }
    assert list(found.levels[0].feature_size) == [5, 9]
    parts = ["backbone", "BiFPN", "class head", "box head"]
    assert list(content["parameters"]) == parts
    assert list(content["multiply_adds"]) == parts
    assert content["total_multiply_adds"] == sum(
        content["multiply_adds"].values()
    )
    assert content["total_parameters"] == sum(
        sum(count.values()) for count in content["parameters"].values()
    )
    estimate = content["estimated_bytes"]
    assert content["train_batch_size"] == content["eval_batch_size"] == 3
    assert estimate["weights"] == 4 * content["total_parameters"]
    assert estimate["inference"] == (
        estimate["weights"] + 3 * estimate["inference_per_image"]
    )


def test_table(
    found: inspection.Inspection, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--image_size=65x40", f"--hparams={SMALL}"]
    assert _run(f"--model_name={LITE0}", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{LITE0}, input 65x40 pixels (sizes are WIDTHxHEIGHT), 90 classes (as"
        " published)"
    )
    rows = {line.split("  ")[0]: line.split() for line in lines}
    backbone = found.parameters["backbone"]
    products = found.multiply_adds["backbone"] / 1e9
    assert rows["backbone"][1:] == [
        f"{sum(backbone):,}",
        f"{backbone.trainable:,}",
        f"{backbone.moving:,}",
        f"{products:.3f}",
        "G",
    ]
    assert rows["P3"] == ["P3", "9x5", "7.2222x8", "405"]
    assert rows["all"] == ["all", "621"]
    assert "Outputs for B images, float32: logits [B, 621, 90], codes" in (
        "\n".join(lines)
    )
    estimate = found.memory
    for name, expected in (
        ("moving average", estimate.moving_average),
        ("training, 64 images a step", estimate.training(64)),
        ("inference, 1 images at once", estimate.inference(1)),
    ):
        assert rows[name][-2:] == [f"{expected / 2**20:,.1f}", "MiB"]
    assert max(map(len, lines)) <= 100


def test_label_map_gives_the_number_of_classes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "voc.yaml"
    path.write_text("label_map: {1: car, 2: truck}\n")
    inspect.FLAGS.unparse_flags()
    values = inspect.FLAGS(
        ["inspect", f"--model_name={LITE0}", f"--hparams={path}"]
    )
    assert values == ["inspect"]
    config, source = inspect._resolve(inspect.FLAGS)
    assert (config.model.num_classes, source) == (2, "of label_map")


def test_the_nearest_name_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    message = _fault(capsys, "eficientdet-d1")
    assert "Unknown model name 'eficientdet-d1'." in message
    assert "Did you mean 'efficientdet-d1'?" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Which network? Give its name"),
        ([LITE0, f"--model_name={LITE0}"], "say the same thing"),
        ([LITE0, "more"], "Unexpected argument 'more'"),
        ([LITE0, "--image_size=960*512"], "WIDTHxHEIGHT"),
        ([LITE0, "--image_size=960x16"], "image_size"),
        ([LITE0, "--num_classes=0"], "expected a number from 1 on"),
        ([LITE0, "--num_classes=many"], "num_classes"),
        ([LITE0, "--batch_size=0"], "train_batch_size"),
        ([LITE0, "--hparams=learnig_rate=1"], "Did you mean 'learning_rate'?"),
        (
            [LITE0, "--num_classes=4", "--hparams=model.num_classes=5"],
            "--num_classes=4, but --hparams says num_classes=5. Give one",
        ),
        (
            [LITE0, "--image_size=64x32", "--hparams=image_size=32x64"],
            "--image_size=64x32, but --hparams says image_size=(64, 32)",
        ),
        ([LITE0, "--no_such_flag"], "no_such_flag"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in _fault(capsys, *arguments)


def test_other_commands_take_no_argument_without_a_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--input_dir=a", "--output_dir=b", "c"]
    code = command.run(convert.main, convert.FLAGS, "", ["convert", *flags])
    assert code == 64
    assert capsys.readouterr().err == (
        "error: Unexpected argument 'c': all options are flags (--name=value)."
        " See --help.\n"
    )
