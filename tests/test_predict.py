"""Predict: the same detections as evaluation, and files of every kind."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from efficientdet_aimmo import predict
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import coco
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from tests import detection_cases
from tfrecord_tools import command


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Puts a detector where checkpoints would be; returns the calls."""
    return detection_cases.put_in_place_of_checkpoints(
        monkeypatch, detection_cases.LightDetector()
    )


def _run(image: pathlib.Path, output: pathlib.Path, *more: str) -> int:
    arguments = [
        "predict",
        "--model_dir=model",
        f"--image={image}",
        f"--output_dir={output}",
        "--allow_cpu",
        *more,
    ]
    return command.run(predict.main, predict.FLAGS, "", arguments)


def _results(output: pathlib.Path) -> list[dict]:
    return json.loads((output / "detections.json").read_text())


@pytest.mark.slow
def test_finds_what_evaluation_finds(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = detection_cases.lively_detector(0)
    detection_cases.put_in_place_of_checkpoints(monkeypatch, detector)
    source, output = tmp_path / "in", tmp_path / "out"
    detection_cases.write_annotations(source)
    detection_cases.convert_all(source, tmp_path / "records")
    truth = ground_truth_lib.load(str(tmp_path / "records" / "val.json"))
    config = detection_cases.tiny_config()
    evaluator = evaluator_lib.Evaluator(
        detector, config, detection_cases.CLASSES
    )
    files = sorted(str(p) for p in (tmp_path / "records").glob("val-*"))
    evaluated = evaluator.run(
        pipeline.build_eval_dataset(files, config, 1),
        truth,
        lambda done, total: None,
    )
    expected: dict[str, list] = {name: [] for name in truth.file_names.values()}
    for row in coco.results(evaluated.detections):
        found = (row["category_id"], row["bbox"], row["score"])
        expected[truth.file_names[row["image_id"]]].append(found)

    assert _run(source, output, "--min_score=0.4") == 0
    got: dict[str, list] = {name: [] for name in expected}
    for row in _results(output):
        got[row["file_name"]].append(
            (row["category_id"], row["bbox"], row["score"])
        )
        assert (
            row["category_name"]
            == (detection_cases.CLASSES[row["category_id"] - 1])
        )
    assert got == expected
    assert all(len(found) == 10 for found in got.values())
    assert got["wide.png"] != got["square.png"]
    for name in expected:
        assert (output / "pictures" / f"{name}.jpg").is_file()
    assert "3 images, 30 detections in" in capsys.readouterr().out


def test_pictures_of_the_same_pixels_give_the_same_detections(
    tmp_path: pathlib.Path, loaded: list[tuple[str, str | None]]
) -> None:
    """Greyscale, palette, 16-bit, alpha and EXIF-turned files of one image."""
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 256, (40, 64), np.uint8)
    image = Image.fromarray(grey)
    image.save(folder / "a_grey.png")
    image.convert("RGB").save(folder / "b_rgb.bmp")
    image.convert("RGBA").save(folder / "c_alpha.png")
    image.convert("P").save(folder / "d_palette.png")
    deep = grey.astype(np.uint16) * 256 + 200
    Image.fromarray(deep).save(folder / "e_16_bit.png")
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned left by a quarter
    turned = Image.fromarray(np.rot90(grey, -1))
    turned.save(folder / "deeper" / "f_turned.PNG", exif=exif)
    (folder / "notes.txt").write_text("no image, and not taken for one")

    output = folder / "out"
    more = ("--min_score=0.5", "--ckpt=some/step")
    assert _run(folder, output, *more) == 0
    assert loaded == [("model", "some/step")]
    by_file: dict[str, list] = {}
    for row in _results(output):
        by_file.setdefault(row["file_name"], []).append(
            (row["category_id"], row["bbox"], row["score"])
        )
    assert list(by_file) == [
        "a_grey.png",
        "b_rgb.bmp",
        "c_alpha.png",
        "d_palette.png",
        "deeper/f_turned.PNG",
        "e_16_bit.png",
    ]
    for name, found in by_file.items():
        assert found == by_file["a_grey.png"], name
    # The pictures lie below the input folder, and are no input themselves.
    assert (output / "pictures" / "deeper" / "f_turned.PNG.jpg").is_file()
    assert _run(folder, output, *more, "--overwrite") == 0
    assert {row["file_name"] for row in _results(output)} == set(by_file)


def test_one_image(tmp_path: pathlib.Path) -> None:
    Image.new("RGB", (30, 20), (9, 9, 9)).save(tmp_path / "one.png")
    output = tmp_path / "out"
    assert _run(tmp_path / "one.png", output, "--min_score=0.5") == 0
    assert {row["image_id"] for row in _results(output)} == {1}
    assert {row["file_name"] for row in _results(output)} == {"one.png"}


def test_unreadable_images_are_listed_after_the_others(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a_broken.png").write_text("no image")
    (folder / "b_empty.jpg").write_text("")
    Image.new("RGB", (30, 20)).save(folder / "c_fine.png")
    assert _run(folder, tmp_path / "out", "--min_score=0.5") == 65
    message = capsys.readouterr().err
    assert "error: 2 of 3 images cannot be read; the others are in" in message
    assert "a_broken.png (UnidentifiedImageError:" in message
    assert "b_empty.jpg (UnidentifiedImageError:" in message
    rows = _results(tmp_path / "out")
    assert {row["file_name"] for row in rows} == {"c_fine.png"}


def test_mistakes(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line = ["", "--model_dir=m", "--image=i", "--output_dir=gs://b/o"]
    assert command.run(predict.main, predict.FLAGS, "", command_line) == 64
    assert "--output_dir=gs://b/o is in an object store" in (
        capsys.readouterr().err
    )
    output = tmp_path / "out"
    assert _run(tmp_path / "none", output, "--min_score=0.5") == 65
    assert "does not exist. Expected an image or a" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert _run(empty, output, "--min_score=0.5") == 65
    assert "has no image. Expected files ending in" in capsys.readouterr().err
    Image.new("RGB", (30, 20)).save(empty / "a.png")
    assert _run(empty, output) == 64
    assert "model has no evaluation, so --min_score is needed" in (
        capsys.readouterr().err
    )
    assert _run(empty, output, "--min_score=1.5") == 64
    assert "1.5" in capsys.readouterr().err
    assert not output.exists()
    assert _run(empty, output, "--min_score=0.5") == 0
    assert _run(empty, output, "--min_score=0.5") == 73
    assert (
        f"{output}{os.sep}detections.json exists. Choose another --output_dir"
        in capsys.readouterr().err
    )
