"""What the documents name exists: flags of commands, files behind links."""

from __future__ import annotations

import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
)
_COMMAND = re.compile(r"python -m ([\w.]+)((?:[^\n\\]|\\\n)*)")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> list[tuple[str, set[str]]]:
    """Returns module and flags of every command that text shows."""
    return [
        (module, set(re.findall(r"--(\w+)", rest)))
        for module, rest in _COMMAND.findall(text)
    ]


def test_a_command_over_several_lines_is_found_whole() -> None:
    text = "run\n\n    python -m a.b --c=1 \\\n        --d\n    other --e\n"
    assert commands(text) == [("a.b", {"c", "d"})]


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_commands_and_their_flags_exist(path: pathlib.Path) -> None:
    for module, names in commands(path.read_text()):
        values = getattr(importlib.import_module(module), "FLAGS", ())
        missing = sorted(n for n in names if n not in values)
        assert not missing, f"{module} has no flags {missing}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_links_lead_to_files_of_the_repository(path: pathlib.Path) -> None:
    for link in _LINK.findall(path.read_text()):
        if "://" in link:
            continue
        target = (path.parent / link).resolve()
        assert target.exists(), f"{_name(path)}: {link}"
        assert target.is_relative_to(ROOT), f"{_name(path)}: {link}"


def test_flags_in_the_readmes_table_exist() -> None:
    train = importlib.import_module("efficientdet_aimmo.train")
    rows = re.findall(
        r"^\| (`--.*?) \|", (ROOT / "README.md").read_text(), re.M
    )
    names = {n for row in rows for n in re.findall(r"`--(\w+)`", row)}
    assert len(names) >= 10
    assert {n for n in names if n not in train.FLAGS} == set()
