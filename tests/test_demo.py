"""The demo's verdict and how it passes on what its commands answer."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import types

import pytest

from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.evaluation import report
from tfrecord_tools import command

PATH = pathlib.Path(__file__).resolve().parent.parent / "examples" / "demo.py"


@pytest.fixture(scope="module")
def demo() -> types.ModuleType:
    """The driver, which lies in no package."""
    spec = importlib.util.spec_from_file_location("demo", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COUNTS = metrics_lib.Counts(
    threshold=0.5,
    true_positives=9,
    false_positives=1,
    false_negatives=1,
    precision=0.9,
    recall=0.9,
    f1=0.9,
)


def _class(name: str, ap50: float | None) -> metrics_lib.ClassMetrics:
    return metrics_lib.ClassMetrics(
        name=name,
        objects=10,
        ap=0.5,
        ap50=ap50,
        ap75=0.5,
        best_score=0.9,
        at_best=COUNTS,
        at_common=COUNTS,
    )


def _report(
    ap50: float | None, per_class: dict[str, float | None], *alarms: str
) -> report.Report:
    metrics = metrics_lib.Metrics(
        images=32,
        objects=20,
        detections=100,
        ap=0.5,
        ap50=ap50,
        ap75=0.5,
        ap_small=None,
        ap_medium=0.5,
        ap_large=0.5,
        ar100=0.6,
        overall=COUNTS,
        classes=tuple(_class(n, v) for n, v in per_class.items()),
    )
    return report.Report(
        step=800, ground_truth="val.json", metrics=metrics, alarms=alarms
    )


def test_what_just_suffices_passes(demo: types.ModuleType) -> None:
    good = _report(0.90, {"car": 0.75, "bus": 1.0})
    assert demo.shortfalls(good, good) == []


def test_too_low_is_named_with_what_was_expected(
    demo: types.ModuleType,
) -> None:
    low = _report(0.899, {"car": 0.749, "bus": None, "truck": 0.8})
    assert demo.shortfalls(low, low) == [
        "all classes: AP50 0.899, expected at least 0.90",
        "class car: AP50 0.749, expected at least 0.75",
        "class bus: AP50 n/a, expected at least 0.75",
    ]


def test_alarm_fails_the_demo(demo: types.ModuleType) -> None:
    alarmed = _report(0.95, {"car": 0.95}, "class 'car' ...")
    assert demo.shortfalls(alarmed, alarmed) == ["alarm: class 'car' ..."]


def test_other_numbers_than_training_reported_fail_the_demo(
    demo: types.ModuleType,
) -> None:
    trained = _report(0.95, {"car": 0.95})
    metrics = dataclasses.replace(trained.metrics, ap50=0.950001)
    evaluated = dataclasses.replace(trained, metrics=metrics)
    assert demo.shortfalls(trained, evaluated) == [
        "the saved checkpoint does not give the numbers that training"
        " reported: AP50 0.950001 of step 800, 0.950000 of step 800"
    ]
    assert demo.shortfalls(None, trained) == [
        "training left no evaluation of its own"
    ]


@pytest.mark.parametrize(
    ("code", "passed_on", "text"),
    [
        (75, command.ExitCode.STOPPED, "The same command goes on"),
        (70, command.ExitCode.DIVERGED, "'Train' ended with code 70"),
        (1, command.ExitCode.DATA, "'Train' ended with code 1"),
    ],
)
def test_a_commands_exit_code_is_passed_on(
    demo: types.ModuleType,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    passed_on: command.ExitCode,
    text: str,
) -> None:
    (tmp_path / "ends.py").write_text(f"raise SystemExit({code})")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    with pytest.raises(command.UserError, match=text) as caught:
        demo._run("Train", ["ends"])
    assert caught.value.exit_code == passed_on


def test_folders_of_two_seeds_are_apart(demo: types.ModuleType) -> None:
    first = {f for c in demo.commands(0, "demo/seed-0").values() for f in c}
    second = {f for c in demo.commands(1, "demo/seed-1").values() for f in c}
    assert "--hparams=seed=0" in first - second
    assert not [f for f in first & second if f.startswith("--model_dir")]
