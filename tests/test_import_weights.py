"""The command that takes weights from elsewhere, and gives them back."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import import_weights, weights
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.pretrained import download, official_checkpoint
from hparams import override, presets
from tfrecord_tools import command

# Small, but with every kind of variable.
SMALL = "fpn_num_filters=8,fpn_cell_repeats=1,box_class_repeats=1"
NETWORK = ("--model_name=efficientdet-d0", f"--hparams={SMALL}")
CLASSES = ("car", "truck", "bus", "pedestrian")


def _detector(num_classes: int) -> detector_lib.Detector:
    base = presets.get_config("efficientdet-d0")
    small = override.override(base, f"{SMALL},num_classes={num_classes}")
    return detector_lib.Detector(small)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An official checkpoint of four classes."""
    folder = tmp_path_factory.mktemp("official")
    variables = _detector(4).all_variables
    rng = np.random.default_rng(0)
    for variable in variables:
        variable.assign(rng.normal(size=variable.shape))
    official_checkpoint.write(str(folder / "model"), variables, 3)
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkpoint of a backbone."""
    path = tmp_path_factory.mktemp("backbone") / "model"
    names = ["efficientnet-b0/stem/conv2d/kernel"]
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""],
        tensors=[tf.zeros([3, 3, 3, 32])],
    )
    return path


def _run(*arguments: str) -> int:
    return command.run(
        import_weights.main, import_weights.FLAGS, "", ["import", *arguments]
    )


def _tensors(folder: pathlib.Path) -> Mapping[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(folder))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith("VARIABLE_VALUE")
    }


def test_in_and_out_again_to_the_bit(
    official: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    classes = f"--classes={','.join(CLASSES)}"
    where = (f"--ckpt={official}", f"--output_dir={here}")
    assert _run(*where, classes, *NETWORK) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Weights: {official}/model\n  official TF2")
    assert said.rstrip().endswith(f"{here}/checkpoints/step-00000000")
    loaded = weights.load_detector(str(here), None)
    assert loaded.class_names == CLASSES
    assert loaded.config.model.num_classes == 4
    assert (loaded.step, loaded.config.model.fpn_num_filters) == (0, 8)

    assert _run(f"--ckpt={here}", f"--output_dir={back}", "--to=official") == 0
    before, after = _tensors(official), _tensors(back)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_classes_of_coco_need_no_names(tmp_path: pathlib.Path) -> None:
    official_checkpoint.write(
        str(tmp_path / "model"), _detector(90).all_variables, 3
    )
    out = tmp_path / "out"
    assert _run(f"--ckpt={tmp_path}", f"--output_dir={out}", *NETWORK) == 0
    loaded = weights.load_detector(str(out), None)
    assert loaded.class_names[0] == "person"
    assert len(loaded.class_names) == 90


def test_label_map_names_the_classes(
    official: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    text = f"--hparams={SMALL},label_map=[a,b,c,d]"
    arguments = (f"--ckpt={official}", f"--output_dir={tmp_path}/out", text)
    name = "--model_name=efficientdet-d0"
    assert _run(*arguments, name) == 0
    found = weights.load_detector(f"{tmp_path}/out", None)
    assert found.class_names == ("a", "b", "c", "d")
    assert _run(*arguments, name, "--classes=a,b,c,e") == 64


def test_name_is_fetched(
    official: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(name: str, cache_dir: str) -> str:
        asked.append((name, cache_dir))
        return f"{official}/model"

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.setenv("EFFICIENTDET_AIMMO_CACHE", "/cache")
    arguments = (f"--output_dir={tmp_path}/out", "--classes=a,b,c,d", *NETWORK)
    assert _run("--ckpt=efficientdet-d0", *arguments) == 0
    assert asked == [("efficientdet-d0", "/cache")]
    assert _run("--ckpt=efficientnet-b0", "--output_dir=x", *NETWORK) == 64
    assert capsys.readouterr().err == (
        "error: --ckpt=efficientnet-b0 names the published weights of a"
        " backbone, expected those of a detector. Use"
        " --backbone_ckpt=efficientnet-b0.\n"
    )


@pytest.mark.parametrize(
    ("code", "words", "given"),
    [
        (65, "There are no weights at nowhere. Expected", "--ckpt=nowhere"),
        (64, "has 4 classes and does not name them. Give --classes", ""),
        (64, "Did you mean 'efficientdet-d0'?", "--model_name=eficientdet-d0"),
        (64, "hyper-parameter 'fpn_filters'", "--hparams=fpn_filters=8"),
        (
            64,
            "num_classes is 3, but there are 4",
            "--classes=a,b,c,d --hparams=num_classes=3",
        ),
        (
            65,
            "do not fit this network",
            "--classes=a,b,c,d --hparams=fpn_num_filters=9",
        ),
        (65, "do not fit this network", "--classes=a,b,c --reuse_head=all"),
        (65, "has no class head and box head", "--ckpt=BACKBONE"),
        (73, "holds 3 files. Choose a folder", "--output_dir=OFFICIAL"),
        (74, "cannot be written", "--classes=a,b,c,d --output_dir=/proc/no"),
    ],
)
def test_mistake(
    official: pathlib.Path,
    backbone: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
    words: str,
    given: str,
) -> None:
    given = given.replace("OFFICIAL", str(official))
    given = given.replace("BACKBONE", str(backbone))
    out = tmp_path / "out"
    start = (f"--ckpt={official}", f"--output_dir={out}", *NETWORK)
    assert _run(*start, *given.split()) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert not out.exists()


def test_a_file_that_does_not_say_of_which_network(
    official: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(f"--ckpt={official}", "--output_dir=out") == 64
    assert "Give --model_name." in capsys.readouterr().err
    assert _run("--ckpt=x", "--output_dir=out", "--hparams=num_scales=3") == 64
    assert "give that too" in capsys.readouterr().err
