"""The commands evaluate and show on converted records."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientdet_aimmo import evaluate, show
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import report
from tests import detection_cases
from tfrecord_tools import command, schema


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("dataset")
    detection_cases.write_annotations(folder / "in")
    detection_cases.convert_all(folder / "in", folder / "out")
    return folder / "out"


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Puts a detector where checkpoints would be; returns the calls."""
    return detection_cases.put_in_place_of_checkpoints(
        monkeypatch, detection_cases.LightDetector()
    )


def _evaluate(records: pathlib.Path, *more: str) -> int:
    arguments = [
        "evaluate",
        "--model_dir=model",
        f"--val_file_pattern={records}/val*.tfrecord",
        "--allow_cpu",
        *more,
    ]
    return command.run(evaluate.main, evaluate.FLAGS, "", arguments)


def _show(
    records: pathlib.Path,
    model_dir: pathlib.Path,
    output: pathlib.Path,
    *more: str,
) -> int:
    arguments = [
        "show",
        f"--model_dir={model_dir}",
        f"--val_file_pattern={records}/val*.tfrecord",
        f"--val_json_file={records}/val.json",
        f"--output_dir={output}",
        *more,
    ]
    return command.run(show.main, show.FLAGS, "", arguments)


def _expected(records: pathlib.Path) -> report.Report:
    config = detection_cases.tiny_config()
    evaluator = evaluator_lib.Evaluator(
        detection_cases.LightDetector(), config, detection_cases.CLASSES
    )
    files = sorted(str(path) for path in records.glob("val-*"))
    found = evaluator.run(
        pipeline.build_eval_dataset(files, config, 1),
        ground_truth_lib.load(str(records / "val.json")),
        lambda done, total: None,
    )
    return report.Report(
        step=7,
        ground_truth="val.json",
        metrics=found.metrics,
        alarms=found.alarms,
    )


@pytest.mark.parametrize("batch_size", [1, 2])
def test_evaluate_prints_and_writes_what_the_evaluator_finds(
    records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    batch_size: int,
) -> None:
    """At batch 2 the second batch is filled with a row that is no image."""
    expected = _expected(records)
    more = (
        f"--output_dir={tmp_path}",
        f"--val_json_file={records}/val.json",
        f"--eval_batch_size={batch_size}",
    )
    assert _evaluate(records, *more) == 0
    shown = capsys.readouterr()
    assert report.text(expected) in shown.out
    assert "evaluating: 3 of 3 images" in shown.err
    assert report.read(str(tmp_path / "00000007.json")) == expected
    assert expected.metrics.images == 3
    assert expected.metrics.objects == 4


def test_an_image_that_cannot_be_decoded_is_named(
    records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "records"
    shutil.copytree(records, damaged)
    shard = min(damaged.glob("val-*"))
    examples = [
        tf.train.Example.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(shard))
    ]
    feature = examples[-1].features.feature
    feature[schema.ENCODED].bytes_list.value[0] = b"no image"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    content = json.loads((damaged / schema.MANIFEST_NAME).read_text())
    entry = content["splits"]["val"]["shards"][0]
    entry["bytes"] = shard.stat().st_size
    entry["sha256"] = hashlib.sha256(shard.read_bytes()).hexdigest()
    (damaged / schema.MANIFEST_NAME).write_text(json.dumps(content))
    image_id = feature[schema.SOURCE_ID].bytes_list.value[0].decode()
    expected = (
        f"error: Image {image_id} ({shard.name}, record {len(examples) - 1})"
        " cannot be decoded: "
    )
    assert _evaluate(damaged) == 65
    assert expected in capsys.readouterr().err
    assert _show(damaged, tmp_path, tmp_path / "out", "--min_score=0.3") == 65
    assert expected in capsys.readouterr().err


def test_ground_truth_beside_the_records_is_found(
    records: pathlib.Path, loaded: list[tuple[str, str | None]]
) -> None:
    assert _evaluate(records, "--ckpt=model/checkpoints/step-00000007") == 0
    assert loaded == [("model", "model/checkpoints/step-00000007")]


def test_mistakes(
    records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fault(code: int, folder: pathlib.Path, *more: str) -> str:
        assert _evaluate(folder, *more) == code
        return capsys.readouterr().err

    assert "matches no file" in fault(65, tmp_path)
    assert "none.json: cannot be read (No such file" in fault(
        65, records, "--val_json_file=none.json"
    )
    content = json.loads((records / "val.json").read_text())
    content["images"].append({"id": 99, "file_name": "more.png"})
    more_images = tmp_path / "more.json"
    more_images.write_text(json.dumps(content))
    assert "The records hold 3 images, " in fault(
        65, records, f"--val_json_file={more_images}"
    )
    content["categories"][0]["name"] = "lorry"
    other_classes = tmp_path / "other.json"
    other_classes.write_text(json.dumps(content))
    assert "The detector's classes are car, pedestrian; those of" in fault(
        65, records, f"--val_json_file={other_classes}"
    )
    assert "--eval_batch_size" in fault(64, records, "--eval_batch_size=0")
    shutil.copytree(records, tmp_path / "cut")
    shard = next((tmp_path / "cut").glob("val-*"))
    shard.write_bytes(shard.read_bytes()[:-10])
    assert "is cut off" in fault(65, tmp_path / "cut")


def test_model_dir_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    for module in (evaluate, show):
        arguments = [module.__name__, "--val_file_pattern=x"]
        assert command.run(module.main, module.FLAGS, "", arguments) == 64
        assert "--model_dir must have a value" in capsys.readouterr().err


def test_show_draws_every_image_of_the_split(
    records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _expected(records)
    overall = dataclasses.replace(found.metrics.overall, threshold=0.625)
    metrics = dataclasses.replace(found.metrics, overall=overall)
    last = dataclasses.replace(found, metrics=metrics)
    model_dir, output = tmp_path / "model", tmp_path / "pictures"
    report.write(last, str(model_dir / "eval"))
    assert _show(records, model_dir, output) == 0
    content = json.loads((records / "val.json").read_text())
    names = [
        f"{i['id']:06d}-{pathlib.PurePath(i['file_name']).stem}.jpg"
        for i in content["images"]
    ]
    assert sorted(path.name for path in output.iterdir()) == sorted(names)
    # The threshold is that of the last evaluation.
    assert "from score 0.62 on" in capsys.readouterr().out
    # The left half shows the drawing: red where the car of 'wide' is.
    wide = next(path for path in output.iterdir() if "wide" in path.name)
    with Image.open(wide) as picture:
        pixels = np.asarray(picture)
    bar = pixels.shape[0] - 480
    assert pixels[bar + 220, 280, 0] > 200
    assert pixels[bar + 220, 280, 2] < 90


def test_show_draws_as_many_as_asked_for(
    records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "pictures"
    more = ("--min_score=0.5", "--max_images=2")
    assert _show(records, tmp_path, output, *more) == 0
    assert len(list(output.iterdir())) == 2


def test_show_needs_a_threshold(
    records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _show(records, tmp_path, tmp_path / "pictures") == 64
    assert (
        f"{tmp_path} has no evaluation, so --min_score is needed: detections"
        " below it are not drawn (for example --min_score=0.3)."
    ) in capsys.readouterr().err
