"""The doctor's command, and the document of what it says."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from efficientdet_aimmo import doctor
from efficientdet_aimmo.diagnosis import facts, gathering, installed, needs
from scripts import make_doctor_document
from tests.diagnosis import recorded
from tfrecord_tools import command

ROOT = pathlib.Path(__file__).resolve().parent.parent
_DOCUMENT = ROOT / "docs" / "doctor.md"


def test_committed_document_is_in_step_with_the_code() -> None:
    assert _DOCUMENT.read_text() == make_doctor_document.document(), (
        "run: python -m scripts.make_doctor_document > docs/doctor.md"
    )


def test_every_recorded_machine_is_in_the_document() -> None:
    titles = make_doctor_document._TITLES
    assert sorted(titles) == recorded.NAMES
    text = _DOCUMENT.read_text()
    assert all(f"### {title}\n" in text for title in titles.values())
    assert needs.DRIVER in text
    assert needs.PTX_DRIVER in text
    for name, _ in installed.LIBRARIES:
        assert f"`{name}`" in text


def test_tensorflow_is_the_one_that_setup_asks_for() -> None:
    text = (ROOT / "setup.cfg").read_text()
    assert f"tensorflow=={needs.TENSORFLOW}\n" in text


def _run(
    monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str
) -> tuple[int, list[bool]]:
    """Runs the command on a recorded machine."""
    asked = []

    def gather(
        place: gathering.Place, ask: object, *, with_tensorflow: bool
    ) -> facts.Facts:
        asked.append(with_tensorflow)
        return recorded.machine(name)

    monkeypatch.setattr(gathering, "gather", gather)
    code = command.run(doctor.main, doctor.FLAGS, "", ["doctor", *arguments])
    return code, asked


def test_working_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "v100") == (0, [True])
    out, err = capsys.readouterr()
    assert out.endswith(
        "\nTraining works on the GPU: Tesla V100-SXM2-16GB, 16 GiB.\n"
    )
    assert err == ""


def test_broken_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "driver_too_old") == (69, [True])
    out, err = capsys.readouterr()
    assert "broken   driver " in out
    assert err == (
        "error: Training on a GPU does not work here: driver, libcuda. To"
        " compute on the CPU, give --allow_cpu, here and to the commands that"
        " compute.\n"
    )


def test_quick_says_what_is_broken_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "no_driver", "--quick") == (69, [False])
    out, err = capsys.readouterr()
    assert out == ""
    assert "\n  driver: none. Expected 525.60.13 or newer. Install" in err
    assert _run(monkeypatch, "no_driver", "--quick", "--allow_cpu")[0] == 0
    assert capsys.readouterr().out == (
        "No usable GPU; training on the CPU works (--allow_cpu).\n"
    )


@pytest.mark.parametrize(("name", "usable"), [("t4", True), ("no_gpu", False)])
def test_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    usable: bool,
) -> None:
    assert _run(monkeypatch, name, "--json")[0] == (0 if usable else 69)
    content = json.loads(capsys.readouterr().out)
    assert content["usable"] == usable
    assert content["rows"][0]["what"] == "GPU"
    assert set(content["rows"][0]) == {
        "what",
        "found",
        "needed",
        "verdict",
        "what_to_do",
        "is_gpu",
    }
    assert facts.from_json(content["facts"]) == recorded.machine(name)


def test_quick_imports_no_tensorflow_and_looks_at_this_machine() -> None:
    code = (
        "import sys; from efficientdet_aimmo import doctor;"
        " sys.argv = ['doctor', '--quick', '--json', '--allow_cpu'];"
        " code = doctor.entry(); print(code, 'tensorflow' in sys.modules,"
        " 'numpy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    content = json.loads(done.stdout)
    assert done.stderr.splitlines()[-1] == "0 False False", done.stderr
    found = facts.from_json(content["facts"])
    assert found.tensorflow is None
    assert found.build is not None
    assert found.build.cuda == needs.CUDA
    assert len(found.wanted) == 12
    assert len(found.libraries) == len(installed.LIBRARIES)
    assert found.host.cores >= 1
    assert found.host.memory_free > 0
