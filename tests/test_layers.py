"""The house's rules that no single module's test can see."""

from __future__ import annotations

import ast
import functools
import importlib.util
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("hparams", "tfrecord_tools", "efficientdet_aimmo")
# What the detector may import of the tools: what both say of a record,
# and where files lie.
SHARED_TOOLS = {
    "tfrecord_tools.schema",
    "tfrecord_tools.command",
    "tfrecord_tools.object_faults",
    "tfrecord_tools.storage",
}
# What several commands read from flags.
FLAG_MODULES = {
    "tfrecord_tools.choice_flags",
    "tfrecord_tools.command",
    "tfrecord_tools.conversion_flags",
}

# Parts of the detector, lowest first. A part imports only lower ones and
# itself; training alone imports a part of its own level, evaluation. Both of
# these read checkpoints, so checkpoint, weights and pretrained stand below.
LEVELS: tuple[set[str], ...] = (
    {
        "boxes",
        "anchors",
        "devices",
        "archives",
        "host_memory",
        "shares",
        "transfer",
        "uncollected",
        "precision",
        "whole",
    },
    {
        "data",
        "diagnosis",
        "distribution",
        "model",
        "losses",
        "postprocess",
        "pictures",
    },
    {"checkpoint", "memory"},
    {"weights"},
    {"pretrained"},
    {"training", "evaluation", "export", "inspection"},
    {"benching"},
    {
        "cpu_flag",
        "hparams_file",
        "official_flags",
        "doctor",
        "train",
        "evaluate",
        "predict",
        "show",
        "import_weights",
        "inspect",
        "replay",
        "bench",
    },
)
SAME_LEVEL = {("training", "evaluation")}

# Names that may be imported from these; elsewhere only modules are imported.
NAMES_FROM = {"__future__", "collections.abc", "dataclasses", "typing"}
MOST_FILE_LINES = 320
MOST_FUNCTION_LINES = 60


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


def _module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files(*folders: str) -> list[pathlib.Path]:
    return sorted(p for f in folders for p in (ROOT / f).rglob("*.py"))


MODULES = {_module_name(p): p for p in _files(*PACKAGES)}


def _is_project_module(name: str) -> bool:
    return name in MODULES or name in PACKAGES


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yields the full name of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield "." * node.level + f"{node.module or ''}.{alias.name}"


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _level(part: str) -> int | None:
    return next((i for i, parts in enumerate(LEVELS) if part in parts), None)


def _layer_fault(importer: str, imported: str) -> str | None:
    """Returns what is wrong with one import between project modules."""
    package, of = importer.split(".")[0], imported.split(".")[0]
    if package == "hparams":
        return None if of == "hparams" else "hparams imports hparams alone"
    if package == "tfrecord_tools":
        if of == "efficientdet_aimmo":
            return "tfrecord_tools never imports the detector"
        return None
    if of == "hparams":
        return None
    if of == "tfrecord_tools":
        if any(f"{imported}.".startswith(f"{m}.") for m in SHARED_TOOLS):
            return None
        return f"of tfrecord_tools the detector knows {sorted(SHARED_TOOLS)}"
    here, there = _part(importer), _part(imported)
    if here in ("", there):
        return None
    low, high = _level(there), _level(here)
    if low is None or high is None:
        return "one of them has no level: enter it in LEVELS"
    if low < high or (here, there) in SAME_LEVEL:
        return None
    if low == high == len(LEVELS) - 1 and not _is_command(imported):
        return None
    return "imports go from higher levels to lower ones"


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


def _is_command(module: str) -> bool:
    path = MODULES.get(module)
    return path is not None and any(map(_is_main_block, _tree(path).body))


def _locate(name: str) -> pathlib.Path | None:
    """Returns where a module lies, found without importing anything."""
    top, *rest = name.split(".")
    roots = [ROOT / top]
    if not roots[0].is_dir():
        spec = importlib.util.find_spec(top)
        places = spec and spec.submodule_search_locations
        roots = [pathlib.Path(p) for p in places or []]
    for root in roots:
        place = root.joinpath(*rest)
        if place.is_dir():
            return place
        if list(place.parent.glob(f"{place.name}.*")):
            return place
    return None


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_levels(module: str) -> None:
    faults = []
    for name in set(_imports(_tree(MODULES[module]))):
        assert not name.startswith("."), f"{module}: relative import {name}"
        if name.split(".")[0] in PACKAGES:
            fault = _layer_fault(module, name)
            if fault:
                faults.append(f"{module} imports {name}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("importer", "imported", "legal"),
    [
        ("efficientdet_aimmo.boxes", "hparams.config", True),
        ("efficientdet_aimmo.model.heads", "efficientdet_aimmo.boxes", True),
        ("efficientdet_aimmo.model.heads", "efficientdet_aimmo.losses", False),
        ("efficientdet_aimmo.boxes", "efficientdet_aimmo.model", False),
        (
            "efficientdet_aimmo.training.loop",
            "efficientdet_aimmo.evaluation.coco",
            True,
        ),
        (
            "efficientdet_aimmo.evaluation.coco",
            "efficientdet_aimmo.training.loop",
            False,
        ),
        ("efficientdet_aimmo.data.x", "tfrecord_tools.schema.ENCODED", True),
        ("efficientdet_aimmo.data.x", "tfrecord_tools.example", False),
        (
            "efficientdet_aimmo.evaluation.saved",
            "efficientdet_aimmo.checkpoint",
            True,
        ),
        (
            "efficientdet_aimmo.checkpoint",
            "efficientdet_aimmo.training.state",
            False,
        ),
        ("tfrecord_tools.convert", "efficientdet_aimmo.boxes", False),
        ("hparams.config", "tfrecord_tools.schema", False),
        ("efficientdet_aimmo.unheard_of", "efficientdet_aimmo.boxes", False),
    ],
)
def test_layer_rule(importer: str, imported: str, legal: bool) -> None:
    assert (_layer_fault(importer, imported) is None) == legal


def test_every_part_of_the_detector_has_a_level() -> None:
    parts = {_part(m) for m in MODULES if m.startswith("efficientdet_aimmo.")}
    assert {p for p in parts if _level(p) is None} == set()


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m.split(".")[0] == "hparams"]
)
def test_hparams_needs_the_standard_library_alone(module: str) -> None:
    tops = {name.split(".")[0] for name in _imports(_tree(MODULES[module]))}
    assert tops <= {*sys.stdlib_module_names, "hparams"}


@pytest.mark.parametrize("module", MODULES)
def test_only_commands_read_flags_and_environment(module: str) -> None:
    if _is_command(module) or module in FLAG_MODULES:
        return
    if _part(module) in LEVELS[-1]:
        return
    tree = _tree(MODULES[module])
    names = set(_imports(tree))
    assert not names & {"absl.flags", "os.environ", "os.getenv"}
    reads = {
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }
    assert not reads & {"os.environ", "os.getenv", "sys.argv"}


def test_nobody_imports_a_command() -> None:
    for module, path in MODULES.items():
        commands = {n for n in _imports(_tree(path)) if _is_command(n)}
        assert not commands, f"{module} imports {commands}"


def test_one_module_at_most_imports_tensorflow_addons() -> None:
    users = [
        module
        for module, path in MODULES.items()
        if any(n.startswith("tensorflow_addons") for n in _imports(_tree(path)))
    ]
    assert len(users) <= 1, users


SOURCES = _files(*PACKAGES, "tests", "examples", "scripts", "benchmarks")


@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda p: str(p.relative_to(ROOT))
)
def test_style_of_a_file(path: pathlib.Path) -> None:
    text, tree = path.read_text(), _tree(path)
    lines = text.count("\n")
    assert lines <= MOST_FILE_LINES, f"{path}: {lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module not in NAMES_FROM:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                assert _locate(name), f"{name} is not a module"
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            doc = ast.get_docstring(node, clean=False) or ""
            length = node.end_lineno - node.lineno + 1 - doc.count("\n")
            assert length <= MOST_FUNCTION_LINES, f"{node.name}: {length}"
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = set(re.findall(r"\w+", ast.unparse(node.type)))
            assert not caught & {"Exception", "BaseException"}, node.lineno
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
