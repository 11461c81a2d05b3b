"""What a run was computed with is written at every start."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.training import provenance


def test_every_start_has_an_entry_and_changes_are_said(
    street_records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    train = source_lib.open_source(
        f"{street_records}/train-*.tfrecord", "train_file_pattern"
    )
    first = provenance.describe(0, "2 CPU threads", train.manifest, 1)
    assert first["packages"]["tensorflow"] == tf.__version__
    assert first["packages"]["numpy"] == np.__version__
    assert first["records"] == train.manifest.identity
    names = {p.name for p in street_records.glob("*.tfrecord")}
    assert set(first["shards"]) == names
    assert provenance.write(str(tmp_path), first) == []
    later = {**first, "step": 7}
    assert provenance.write(str(tmp_path), later) == []
    other = {**later, "threads": "4 CPU threads", "python": "3.99"}
    assert provenance.write(str(tmp_path), other) == [
        f"python: {first['python']} -> 3.99",
        "threads: 2 CPU threads -> 4 CPU threads",
    ]
    content = json.loads((tmp_path / "run.json").read_text())
    assert [start["step"] for start in content["starts"]] == [0, 7, 7]


def test_damaged_file_is_begun_anew(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run.json").write_text("{")
    assert provenance.write(str(tmp_path), {"step": 3}) == []
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "starts": [{"step": 3}]
    }


def test_commit_is_a_hash() -> None:
    commit = provenance._commit()
    if commit is not None:  # the source may lie outside of a checkout
        assert len(commit.split()[0]) == 40


def test_an_image_says_what_it_was_built_from(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "efficientdet_aimmo"
    here = package / "training" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(here))
    package.mkdir()
    assert provenance._commit() is None
    (package / "COMMIT").write_text("0123abcd with changes\n")
    assert provenance._commit() == "0123abcd with changes"
