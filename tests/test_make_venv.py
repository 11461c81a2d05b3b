"""Which environment is kept, made anew or refused."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script, with an environment made of a file in place of a real one."""
    path = ROOT / "scripts" / "make_venv.py"
    spec = importlib.util.spec_from_file_location("make_venv", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def create(folder: pathlib.Path, **_: bool) -> None:
        _python(folder, exit_code=0)

    monkeypatch.setattr(module.venv, "create", create)
    return module


def _python(folder: pathlib.Path, *, exit_code: int) -> None:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    python.chmod(0o755)


def _stamp(maker: types.ModuleType, folder: pathlib.Path) -> pathlib.Path:
    return folder / maker.STAMP_NAME


def test_missing_one_is_made_and_not_yet_finished(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / ".venv"
    assert maker.prepare(folder, "wanted")
    assert _stamp(maker, folder).read_text() == maker.UNFINISHED
    assert [p.name for p in tmp_path.iterdir()] == [".venv"]


def test_finished_and_current_one_is_left_alone(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / ".venv"
    _python(folder, exit_code=0)
    _stamp(maker, folder).write_text("wanted")
    assert not maker.prepare(folder, "wanted")


@pytest.mark.parametrize(
    ("stamp", "exit_code"),
    [("unfinished", 0), ("of another lock", 0), ("wanted", 1)],
)
def test_others_are_made_anew(
    maker: types.ModuleType,
    tmp_path: pathlib.Path,
    stamp: str,
    exit_code: int,
) -> None:
    folder = tmp_path / ".venv"
    _python(folder, exit_code=exit_code)
    _stamp(maker, folder).write_text(stamp)
    (folder / "left_over").touch()
    assert maker.prepare(folder, "wanted")
    assert not (folder / "left_over").exists()
    assert _stamp(maker, folder).read_text() == maker.UNFINISHED


def test_interrupted_removal_is_finished(
    maker: types.ModuleType,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / ".venv"
    _python(folder, exit_code=0)
    _stamp(maker, folder).write_text("of another lock")

    def stop(path: pathlib.Path, ignore_errors: bool = False) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(maker.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            maker.prepare(folder, "wanted")
    # What is half removed is no longer the environment.
    assert not folder.exists()
    assert maker.prepare(folder, "wanted")
    assert [p.name for p in tmp_path.iterdir()] == [".venv"]


def test_one_made_by_hand_is_kept_and_installed_into(
    maker: types.ModuleType,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / ".venv"
    _python(folder, exit_code=0)
    (folder / "own").touch()
    assert maker.prepare(folder, "wanted")
    assert (folder / "own").exists()
    assert "was made by hand: installing into it" in capsys.readouterr().out


def test_one_made_by_hand_without_pip_is_refused(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / ".venv"
    _python(folder, exit_code=1)
    with pytest.raises(SystemExit, match="holds no Python 3.10 or 3.11"):
        maker.prepare(folder, "wanted")


def test_named_python_of_another_version_is_refused(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /x\nversion = 3.9.1\n")
    with pytest.raises(SystemExit, match="has Python 3.9, PYTHON names 3.1"):
        maker.check_version(tmp_path)
    running = ".".join(map(str, sys.version_info[:3]))
    (tmp_path / "pyvenv.cfg").write_text(f"version = {running}\n")
    maker.check_version(tmp_path)


def test_stamp_follows_from_the_lock(
    maker: types.ModuleType,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = maker.wanted_stamp()
    assert before == maker.wanted_stamp()
    lock = tmp_path / "dev.lock"
    lock.write_text(maker.LOCK.read_text() + "\n")
    monkeypatch.setattr(maker, "LOCK", lock)
    assert maker.wanted_stamp() != before


def test_failed_installation_shows_the_end_of_its_output(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        "#!/bin/sh\n"
        '[ "$4" = list ] && exit 0\necho ERROR: no such package\nexit 3\n'
    )
    python.chmod(0o755)
    with pytest.raises(SystemExit) as caught:
        maker.install(tmp_path, "packages", [str(python), "nothing"])
    assert "it ended with code 3, see" in str(caught.value)
    assert "ERROR: no such package" in str(caught.value)


def test_settings_of_pip_reach_uv(
    maker: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        "echo \":env:.cert='/etc/own.crt'\"\n"
        "echo \"global.index-url='https://mirror.example/simple'\"\n"
        "echo \"global.timeout='60'\"\n"
    )
    python.chmod(0o755)
    found = maker._uv_environment(python)
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["SSL_CERT_FILE"]  # the user's own setting stays
