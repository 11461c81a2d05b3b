"""docs/from-the-pytorch-port.md: every row is run through the real flags.

A row's second cell says what to write here; port_rows.ROWS says what must come
out of it. A row without an entry there fails, and so does an entry without a
row.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import pytest
import yaml
from absl import flags

from efficientdet_aimmo import evaluate, official_flags, predict, train
from hparams import config as config_lib
from hparams import override, port, presets, serialize
from tests import port_rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "from-the-pytorch-port.md"
PROJECT = "The project file"
COMMANDS: Mapping[str, flags.FlagValues] = {
    "train.py": train.FLAGS,
    "coco_eval.py": evaluate.FLAGS,
    "efficientdet_test.py": predict.FLAGS,
    port_rows.CODE: train.FLAGS,
}
# What a command cannot do without.
REQUIRED = {
    "train_file_pattern": "none",
    "val_file_pattern": "none",
    "model_name": "efficientdet-d0",
    "model_dir": "none",
    "image": "none",
    "output_dir": "none",
}
NO_COUNTERPART = "no counterpart: use "
IN_TRAINING = "in training: "
# Where the environment is looked at before TensorFlow is.
ENVIRONMENT = ROOT / "efficientdet_aimmo" / "diagnosis" / "gathering.py"

Expected = Mapping[str, object]


class Row(NamedTuple):
    """A row of a table: the section it stands in, and its cells."""

    section: str
    port: str
    here: str
    note: str

    @property
    def arguments(self) -> list[str]:
        """What to write here, not as a shell would read it."""
        (code,) = re.findall("`(.+?)`", self.here)
        return code.split()


def _rows() -> list[Row]:
    found = []
    section = ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("|"):
            cells = [
                cell.strip().replace("\\|", "|")
                for cell in re.split(r"(?<!\\)\|", line)[1:-1]
            ]
            if cells[0] not in ("---", "the port", "in `projects/mine.yml`"):
                first = cells[0].split("`, `")[0].replace("`", "")
                found.append(Row(section, first, *cells[1:]))
    return found


ALL = _rows()
RUN = [r for r in ALL if r.port in port_rows.ROWS.get(r.section, ())]


def _name(row: Row) -> str:
    return f"{row.section}: {row.port}"


def _parsed(values: flags.FlagValues, tokens: list[str]) -> flags.FlagValues:
    values.unparse_flags()
    given = {token.partition("=")[0] for token in tokens}
    needed = [
        f"--{name}={value}"
        for name, value in REQUIRED.items()
        if name in values and f"--{name}" not in given
    ]
    assert values(["command", *needed, *tokens])[1:] == []
    return values


def _flag_names(arguments: list[str]) -> set[str]:
    return {argument[2:].partition("=")[0] for argument in arguments}


def _check_flags(
    values: flags.FlagValues, arguments: list[str], expected: Expected
) -> None:
    _parsed(values, arguments)
    assert {name: values[name].value for name in expected} == expected
    assert _flag_names(arguments) <= set(expected)


def _check_training(arguments: list[str], expected: Expected) -> None:
    values = _parsed(train.FLAGS, arguments)
    config, names = official_flags.resolve(values)
    found: dict[str, object] = {}
    for name in expected:
        if name in config_lib.LEAVES:
            section = getattr(config, config_lib.LEAVES[name].section)
            found[name] = getattr(section, name)
        else:
            found[name] = names if name == "label_map" else values[name].value
    assert found == expected
    # Nothing else is said, and nothing else changes.
    known = {*expected, *official_flags.LEAVES, "hparams"}
    assert _flag_names(arguments) <= known
    base = presets.get_config(values.model_name)
    changed = {d.name.split(".")[1] for d in serialize.diff(base, config)}
    assert changed <= set(expected)


def test_every_row_has_a_check_and_every_check_a_row() -> None:
    written = [(r.section, r.port) for r in ALL if r.section != PROJECT]
    assert len(written) == len(set(written))
    checks = [
        (section, row)
        for section, rows in port_rows.ROWS.items()
        for row in rows
    ]
    assert sorted(checks) == sorted(written)


@pytest.fixture
def project(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """Returns projects/mine.yml in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "projects" / "mine.yml"
    path.parent.mkdir()
    path.write_text(port_rows.FILE)
    return path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("row", RUN, ids=_name)
def test_a_row_does_what_it_says(row: Row) -> None:
    expected = port_rows.ROWS[row.section][row.port]
    values = COMMANDS[row.section]
    told = re.sub("`.+`", "", row.here)
    assert told in ("", NO_COUNTERPART, IN_TRAINING)
    if not row.arguments[0].startswith("--"):  # the environment
        assert row.arguments == [f"{k}={v}" for k, v in expected.items()]
        assert all(name in ENVIRONMENT.read_text() for name in expected)
    elif told == IN_TRAINING or values is train.FLAGS:
        _check_training(row.arguments, expected)
    else:
        _check_flags(values, row.arguments, expected)


@pytest.mark.parametrize("row", ALL, ids=_name)
def test_flags_in_a_note_exist(row: Row) -> None:
    for name in re.findall(r"`--(\w+)", row.note):
        assert any(name in values for values in COMMANDS.values()), name


@pytest.mark.parametrize(
    "row", [r for r in ALL if r.section == PROJECT], ids=_name
)
def test_a_line_of_a_project_file_is_read_as_it_says(row: Row) -> None:
    given = yaml.safe_load(row.port)
    found = port.translate(given)
    if row.here == "not used":
        (key,) = given
        assert found.values == {}
        assert row.note.replace("`", "") == port.UNUSED[key]
        return
    text = row.here.replace("`", "")
    name = text.partition("=")[0]
    if name == "label_map":
        assert f"label_map=[{','.join(found.names or ())}]" == text
        return
    base = config_lib.Config()
    assert list(found.values) == [name]
    assert override.override(base, found.values) == override.override(
        base, text
    )


def test_every_key_of_a_project_file_has_a_row() -> None:
    keys = [
        key
        for row in ALL
        if row.section == PROJECT
        for key in yaml.safe_load(row.port)
    ]
    assert sorted(keys) == sorted(port.KEYS)


@pytest.mark.usefixtures("project")
def test_the_command_at_the_top() -> None:
    text = DOCUMENT.read_text().replace("\\\n", " ")
    (rest,) = re.findall(
        "^    python -m efficientdet_aimmo.train (.*)", text, re.M
    )
    _check_training(rest.split(), port_rows.COMMAND)
