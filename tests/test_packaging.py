"""The package as installed: its commands, its lock, its environment."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _lines(section: str, option: str) -> list[str]:
    text = _setup()[section][option]
    return [line for line in text.splitlines() if line.strip()]


SCRIPTS = dict(
    re.split(r"\s*=\s*", line, maxsplit=1)
    for line in _lines("options.entry_points", "console_scripts")
)

# Runs a command's entry point with --help and with a wrong flag, in a process
# of its own, and reports what that imported.
_PROBE = """
import contextlib, importlib, io, json, sys
module = importlib.import_module(sys.argv[1])
found = {"heavy": []}
for name, flag in (("help", "--help"), ("wrong", "--no_such_flag=1")):
    sys.argv = ["command", flag]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = int(module.entry())
    found[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
heavy = ("tensorflow", "matplotlib", "pycocotools", "tensorflow_addons")
found["heavy"] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=sorted(SCRIPTS))
def probe(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a command answers to --help and to a wrong flag."""
    module = SCRIPTS[request.param].split(":")[0]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_is_a_success_that_lists_the_flags(probe: dict[str, Any]) -> None:
    assert probe["help"]["code"] == 0
    assert "Flags:" in probe["help"]["out"]
    assert probe["help"]["out"].count("\n  --") >= 1
    assert probe["help"]["err"] == ""


def test_wrong_flag_is_a_usage_error(probe: dict[str, Any]) -> None:
    assert probe["wrong"]["code"] == 64
    assert "no_such_flag" in probe["wrong"]["err"]
    assert "Traceback" not in probe["wrong"]["err"]


def test_both_are_answered_without_heavy_imports(probe: dict[str, Any]) -> None:
    assert probe["heavy"] == []


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_console_script_resolves(name: str) -> None:
    module, function = SCRIPTS[name].split(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{name}: no module {module}"
    assert spec.origin is not None
    tree = ast.parse(pathlib.Path(spec.origin).read_text())
    functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert {function, "main"} <= functions
    assert any("__main__" in ast.unparse(node) for node in tree.body)


def _pins() -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.MULTILINE
    ):
        pins.setdefault(name, []).append(version)
    return pins


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~ ;\[]", requirement)[0].lower().replace("_", "-")


def test_everything_asked_for_is_pinned() -> None:
    asked = _lines("options", "install_requires")
    asked += _lines("options.extras_require", "dev")
    pins = _pins()
    for line in (r for r in asked if not r.lstrip().startswith("#")):
        assert _name(line) in pins, line
        exact = re.fullmatch(r"[\w.-]+==(\S+)", line)
        if exact:
            assert pins[_name(line)] == [exact[1]]


def test_every_pin_has_hashes_and_no_address() -> None:
    locks = sorted(LOCK.parent.glob("*.lock"))
    assert {lock.stem for lock in locks} == {
        "build",
        "cpu",
        "dev",
        "gpu",
        "tools",
    }
    for lock in locks:
        text = lock.read_text()
        entries = re.split(r"\n(?=[a-z])", text)[1:]
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
        assert not re.search(r"://|^\s*-[a-z]|--(extra-)?index|file:", text)


def test_build_tools_are_those_of_the_environment() -> None:
    pins = _pins()
    lock = (ROOT / "requirements" / "build.lock").read_text()
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE):
        assert version in pins[name]


def test_installed_package_is_typed_and_complete() -> None:
    setup = _setup()
    name = setup["metadata"]["name"]
    assert importlib.metadata.version(name) == setup["metadata"]["version"]
    for package in setup["options.package_data"]:
        assert (ROOT / package / "py.typed").exists()
    for folder in ("hparams", "tfrecord_tools", "efficientdet_aimmo"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def _find_python(
    path: pathlib.Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "find_python.sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": f"{path}:{os.defpath}" if path.name != "only" else str(path)
        },
    )


def _fake_python(path: pathlib.Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _tools_only(tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns a PATH folder with what the script calls and no Python."""
    folder = tmp_path / "only"
    folder.mkdir()
    (folder / "head").symlink_to("/usr/bin/head")
    return folder


def test_find_python_prints_one_that_works(tmp_path: pathlib.Path) -> None:
    folder = _tools_only(tmp_path)
    # A version manager's shim that fails comes first and is passed over.
    _fake_python(folder / "python3.11", "exit 127")
    _fake_python(folder / "python3.10", f'exec "{sys.executable}" "$@"')
    done = _find_python(folder)
    assert done.returncode == 0, done.stderr
    assert pathlib.Path(done.stdout.strip()).exists()


def test_find_python_says_which_version_is_needed(
    tmp_path: pathlib.Path,
) -> None:
    folder = _tools_only(tmp_path)
    _fake_python(folder / "python3", "exit 1")
    done = _find_python(folder)
    assert done.returncode == 1
    assert "Python 3.10 or 3.11 is needed, and none was found" in done.stderr
    assert done.stdout == ""


def test_find_python_names_what_a_bare_python_lacks(
    tmp_path: pathlib.Path,
) -> None:
    folder = _tools_only(tmp_path)
    _fake_python(
        folder / "python3.11",
        'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac',
    )
    done = _find_python(folder)
    assert done.returncode == 1
    assert "lacks the modules ensurepip and venv" in done.stderr
    assert "python3-venv" in done.stderr


def test_find_python_refuses_the_named_one(tmp_path: pathlib.Path) -> None:
    folder = _tools_only(tmp_path)
    _fake_python(
        folder / "python3.8",
        'case "$1" in --version) echo Python 3.8.20;; *) exit 1;; esac',
    )
    done = _find_python(folder, "python3.8")
    assert done.returncode == 1
    assert (
        "PYTHON=python3.8 is not a working Python 3.10 or 3.11" in done.stderr
    )
    assert "Python 3.8.20" in done.stderr
