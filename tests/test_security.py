"""What SECURITY.md promises of the code: nothing that is read is run."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("hparams", "tfrecord_tools", "efficientdet_aimmo", "examples")
SOURCES = sorted(
    path
    for folder in (*FOLDERS, "scripts", "docker")
    for path in (ROOT / folder).rglob("*.py")
)
# What makes objects, and with that runs code, from bytes.
_UNSAFE_MODULES = {
    "cloudpickle",
    "dill",
    "joblib",
    "jsonpickle",
    "marshal",
    "shelve",
    "zipfile",  # has no filter; archives.py reads tar alone
}
_UNSAFE_CALLS = {
    "compile",
    "eval",
    "exec",
    "os.popen",
    "os.system",
    # A saved Keras model may hold Python functions.
    "tf.keras.models.load_model",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.load_all",
}


def _named(node: ast.expr) -> str:
    return ast.unparse(node)


def _keyword(call: ast.Call, name: str) -> str | None:
    values = [ast.unparse(k.value) for k in call.keywords if k.arg == name]
    return values[0] if values else None


def _safe_loaders(tree: ast.AST) -> set[str]:
    return {"yaml.SafeLoader"} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and [ast.unparse(base) for base in node.bases] == ["yaml.SafeLoader"]
    }


def _call_faults(call: ast.Call, safe_loaders: set[str]) -> Iterator[str]:
    name = _named(call.func)
    if name in _UNSAFE_CALLS or name.startswith("pickle."):
        yield name
    if name == "yaml.load" and _keyword(call, "Loader") not in safe_loaders:
        yield "yaml.load without a safe loader"
    if name == "torch.load" and _keyword(call, "weights_only") != "True":
        yield "torch.load of more than weights"
    if name == "np.load" and _keyword(call, "allow_pickle") not in (
        None,  # NumPy's default is False
        "False",
    ):
        yield "np.load with pickle"
    if _keyword(call, "shell") not in (None, "False"):
        yield f"{name} with a shell"
    if name.rpartition(".")[2] in ("extract", "extractall") and _keyword(
        call, "filter"
    ) not in ("'data'", '"data"'):
        yield f"{name} without the filter 'data'"


def faults(source: str) -> list[str]:
    """Returns what in a module's source may run what it reads."""
    tree = ast.parse(source)
    safe_loaders = _safe_loaders(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
                if node.module == "pickle":
                    found.append("from pickle import")
            found += [
                n for n in names if n.partition(".")[0] in _UNSAFE_MODULES
            ]
        if isinstance(node, ast.Call):
            found += _call_faults(node, safe_loaders)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle\npickle.loads(b)",
        "import pickle\npickle.Unpickler(f)",
        "from pickle import load",
        "import joblib",
        "import yaml\nyaml.load(f)",
        "yaml.load(f, Loader=yaml.Loader)",
        "class L(yaml.Loader): ...\nyaml.load(f, Loader=L)",
        "yaml.unsafe_load(f)",
        "eval('1')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "tar.extractall(path)",
        "tar.extractall(path, filter='tar')",
        "import zipfile",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "tf.keras.models.load_model(path)",
    ],
)
def test_each_way_is_seen(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "class L(yaml.SafeLoader): ...\nyaml.load(f, Loader=L)",
        "yaml.safe_load(f)",
        "np.load(path)",
        "torch.load(path, weights_only=True)",
        "tar.extract(member, path, filter='data')",
        "import pickle\ntry: ...\nexcept pickle.UnpicklingError: ...",
        "re.compile('a')",
    ],
)
def test_what_is_safe_is_left_alone(source: str) -> None:
    assert faults(source) == []


def test_nothing_that_is_read_is_run() -> None:
    assert len(SOURCES) > 100
    found = {
        str(path.relative_to(ROOT)): faults(path.read_text())
        for path in SOURCES
    }
    assert {path: f for path, f in found.items() if f} == {}


def test_tensorboard_is_published_to_this_machine_alone() -> None:
    """In every document and script that opens it."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    texts += [*ROOT.glob("deploy/**/*.*"), *ROOT.glob("docker/*")]
    seen = 0
    for path in texts:
        for place in re.findall(r"[\w.:$]*:\w+:6006", path.read_text()):
            seen += 1
            assert place.startswith("127.0.0.1:"), f"{path}: {place}"
        assert "--bind_all " not in path.read_text(), path
        assert not re.search(r"(-p|--publish)[ =]6006", path.read_text()), path
    assert seen
