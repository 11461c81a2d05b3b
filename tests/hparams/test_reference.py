"""docs/hyper-parameters.md is what the declarations say."""

from __future__ import annotations

import itertools
import pathlib

from hparams import config, official_keys, presets, reference

_FILE = pathlib.Path(__file__).parents[2] / "docs" / "hyper-parameters.md"


def test_committed_document_is_in_step_with_the_code() -> None:
    assert _FILE.read_text() == reference.document(), (
        "run: python -m hparams.reference > docs/hyper-parameters.md"
    )


def test_every_name_has_a_row() -> None:
    rows = [
        line.split("|")[1].strip()
        for line in reference.document().splitlines()
        if line.startswith("|")
    ]
    for name in (
        *config.LEAVES,
        *official_keys.KEYS,
        *presets.MODEL_NAMES,
        *presets.RECIPES,
    ):
        assert f"`{name}`" in rows, name


def test_tables_have_even_rows() -> None:
    lines = reference.document().splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|"), line
