"""The Dockerfile's instructions and the entry point, for the tests."""

from __future__ import annotations

import configparser
import importlib.util
import pathlib
import re
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
ENTRYPOINT = ROOT / "docker" / "entrypoint.py"


def entrypoint() -> types.ModuleType:
    """Returns the entry point as a module."""
    spec = importlib.util.spec_from_file_location("entrypoint", ENTRYPOINT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def console_modules() -> list[str]:
    """Returns the modules that are installed as commands."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    text = setup["options.entry_points"]["console_scripts"]
    return re.findall(r"= *([\w.]+):", text)


def instructions(text: str) -> list[tuple[str, str]]:
    """Returns name and rest of every instruction, each on one line."""
    lines = [x for x in text.splitlines() if not x.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (x.partition(" ") for x in whole.splitlines() if x.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Returns the instructions of every stage, the last one's name being ''.

    What stands before the first stage has the name 'before'.
    """
    found: dict[str, list[tuple[str, str]]] = {"before": []}
    name = "before"
    for instruction, rest in instructions(DOCKERFILE.read_text()):
        if instruction == "FROM":
            name = rest.partition(" AS ")[2]
            assert name not in found
            found[name] = []
        found[name].append((instruction, rest))
    return found
