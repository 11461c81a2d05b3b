"""The official tutorial's voc_config.yaml in the command of the tutorial."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml

from tests import train_cases

cmd = train_cases.cmd
Command = train_cases.Command
OFFICIAL = json.loads(
    (pathlib.Path(__file__).parent / "data" / "official_keys.json").read_text()
)["voc_config"]
NAMES = list(OFFICIAL["label_map"].values())


@pytest.fixture
def voc(cmd: Command) -> Command:
    """Records of Pascal VOC's twenty classes, as far as names go."""

    def rename(content: dict[str, Any]) -> None:
        content["classes"] = NAMES
        for split in content["splits"].values():
            split["objects"] = dict.fromkeys(NAMES, 1)

    cmd.edit_manifest(rename)
    path = cmd.records / "val.json"
    truth = json.loads(path.read_text())
    truth["categories"] = [
        {"id": i, "name": name} for i, name in enumerate(NAMES, start=1)
    ]
    path.write_text(json.dumps(truth))
    return cmd


def _yaml(cmd: Command, **without: object) -> str:
    path = cmd.records.parent / "voc_config.yaml"
    settings = {k: v for k, v in OFFICIAL.items() if k not in without}
    settings["label_map"] = {
        int(k): v for k, v in OFFICIAL["label_map"].items()
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return f"--hparams={path}"


def test_every_setting_takes_effect(voc: Command) -> None:
    said = voc.start(_yaml(voc, num_classes=None))
    shown = [line.split() for line in said.splitlines()]
    for setting in (
        ["num_classes", "20", "(was", "0)"],
        ["learning_rate", "0.8", "(was", "0.08)"],
        ["lr_warmup_init", "0.08", "(was", "0.008)"],
        [
            "var_freeze_expr",
            "(efficientnet|fpn_cells|resample_p6)",
            "(was",
            "'')",
        ],
    ):
        assert any(line[-len(setting) :] == setting for line in shown), setting


def test_number_of_classes_is_explained(voc: Command) -> None:
    assert voc.fault(64, _yaml(voc)) == (
        "num_classes is 21, the records have 20 classes: "
        + ", ".join(NAMES)
        + ". Background is not counted here. num_classes may be left out: it"
        " follows from the records."
    )


def test_classes_of_other_records_are_explained(cmd: Command) -> None:
    said = cmd.fault(64, _yaml(cmd, num_classes=None))
    assert said.startswith("label_map gives the classes aeroplane, bicycle")
    assert "the records were written with car, truck, bus, pedestrian" in said
