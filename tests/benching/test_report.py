"""The table and the JSON of rows that are made up."""

from __future__ import annotations

import json
import pathlib

import pytest

from efficientdet_aimmo.benching import cases, facts, report, sweep

CASE = cases.Case(
    verb="train",
    model_name="efficientdet-d0",
    precision="float16",
    use_xla=True,
    hparams={},
    batches=cases.Batches(sizes=(), first=4, most=64),
)
ROW = cases.Row(
    case=CASE,
    image_size=(512, 640),
    batch_size=64,
    steps_s=(0.26, 0.25, 0.24, 0.30, 0.25),
    first_s=41.26,
    peak=9 * 2**30,
)
FOUND = sweep.Found(
    [
        ROW,
        cases.Row(
            case=CASE,
            image_size=(512, 640),
            batch_size=128,
            end="memory ended",
        ),
    ],
    [cases.LeftOut(what="efficientdet-d1 float16", why="no time")],
)


def _facts(gpu: str) -> facts.Facts:
    return facts.Facts(
        device=f"GPU: {gpu}", gpu=gpu, versions={"TensorFlow": "2.15.1"}
    )


def test_table() -> None:
    text = report.text(_facts("Tesla T4"), "train", FOUND, 299.6)
    assert text.splitlines() == [
        "device    GPU: Tesla T4",
        "software  TensorFlow 2.15.1",
        "",
        "network  precision  XLA     size  batch  ms a step  spread"
        "  images/s  memory, MiB  first, s",
        "d0       float16    on   640x512     64      250.0     2 %"
        "     256.0         9216      41.3",
        "d0       float16    on   640x512    128  memory ended",
        "",
        "memory    most that TensorFlow had in use on the GPU at a time,"
        " weights and optimizer included",
        "left out  efficientdet-d1 float16: no time",
        "took      300 s",
    ]
    assert max(map(len, text.splitlines())) <= report.WIDTH


def test_a_table_of_inference_has_no_precision() -> None:
    case = cases.Case(
        verb="infer",
        model_name="efficientdet-lite3x",
        precision="",
        use_xla=False,
        hparams={},
        batches=CASE.batches,
    )
    row = cases.Row(
        case=case, image_size=(64, 64), batch_size=1, steps_s=(0.5,), peak=2**20
    )
    text = report.text(_facts(""), "infer", sweep.Found([row], []), 1.0)
    assert "\nlite3x   -          -    64x64" in text
    assert "\nleft out  nothing\n" in text


def test_json() -> None:
    content = json.loads(
        report.to_json(_facts("Tesla T4"), "train", FOUND, 299.6)
    )
    assert content["measured"] == "train"
    assert content["software"] == {"TensorFlow": "2.15.1"}
    assert content["left_out"] == [
        {"what": "efficientdet-d1 float16", "why": "no time"}
    ]
    same = {
        "model_name": "efficientdet-d0",
        "precision": "float16",
        "use_xla": True,
        "image_size": [512, 640],
    }
    assert content["rows"] == [
        {
            **same,
            "batch_size": 64,
            "step_s": 0.25,
            "spread": pytest.approx(0.02),
            "num_steps": 5,
            "images_per_s": 256.0,
            "first_s": 41.26,
            "peak_bytes": 9 * 2**30,
        },
        {**same, "batch_size": 128, "end": "memory ended"},
    ]


@pytest.mark.parametrize(
    ("gpu", "verb", "words"),
    [
        ("Tesla V100-SXM2-32GB", "train", ["232 images/s", "V100-32G"]),
        ("NVIDIA A100-SXM4-80GB", "train", ["397 images/s", "A100-80G"]),
        ("NVIDIA A100-SXM4-80GB", "infer", []),
        ("Tesla T4", "train", []),
        ("", "train", []),
    ],
)
def test_published_figures_stand_beside_their_cards(
    gpu: str, verb: str, words: list[str]
) -> None:
    lines = _facts(gpu).published(verb)
    assert len(lines) == bool(words)
    for word in [*words, "DeepLearningExamples"] if words else []:
        assert word in lines[0]
    text = report.text(_facts(gpu), verb, FOUND, 1.0)
    assert ("beside it" in text) == bool(words)


def test_the_drivers_version(tmp_path: pathlib.Path) -> None:
    assert facts.driver(str(tmp_path)) == "unknown"
    path = tmp_path / "proc/driver/nvidia/version"
    path.parent.mkdir(parents=True)
    path.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct\n"
        "GCC version:  gcc version 12\n"
    )
    assert facts.driver(str(tmp_path)) == "535.129.03"
