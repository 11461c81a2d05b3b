"""Units and shell scripts, as systemd and shellcheck see them."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.deploy import machines, units
from tfrecord_tools import command

UNITS = sorted([*machines.GCP.glob("*.service"), *machines.GCP.glob("*.timer")])
SCRIPTS = sorted([*machines.ROOT.glob("*/**/*.sh"), machines.ROOT / ".ci/run"])
STOPPED = str(int(command.ExitCode.STOPPED))


def _scripts() -> list[pathlib.Path]:
    inside = (path.relative_to(machines.ROOT).parts for path in SCRIPTS)
    return [machines.ROOT.joinpath(*p) for p in inside if ".venv" not in p[0]]


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    return units.settings(machines.GCP / "efficientdet-aimmo.service")


def test_systemd_accepts_the_units(tmp_path: pathlib.Path) -> None:
    for path in UNITS:
        text = path.read_text().replace(
            "/opt/efficientdet-aimmo", str(machines.GCP)
        )
        (tmp_path / path.name).write_text(text)
    # What the training needs of docker.
    (tmp_path / "docker.service").write_text(
        "[Unit]\nDescription=docker\n[Service]\nExecStart=/bin/true\n"
    )
    units.verify([tmp_path / path.name for path in UNITS])


def test_the_training_goes_on_after_a_stop_alone(unit: dict[str, str]) -> None:
    assert unit["Restart"] == "no"
    assert unit["RestartForceExitStatus"] == STOPPED
    assert unit["SuccessExitStatus"] == STOPPED
    assert unit["WantedBy"] == "multi-user.target"


def test_the_training_restores_first_and_saves_last(
    unit: dict[str, str],
) -> None:
    folder = "/opt/efficientdet-aimmo"
    assert unit["ExecStartPre"] == f"{folder}/store.sh restore"
    assert unit["ExecStart"] == f"{folder}/train.sh"
    assert unit["ExecStopPost"] == f"{folder}/store.sh save"
    assert unit["Type"] == "exec"  # docker run stays in the foreground
    assert unit["Requires"] == "docker.service"
    assert "docker.service" in unit["After"].split()
    assert unit["KillSignal"] == "SIGTERM"
    assert unit["KillMode"] == "mixed"
    assert int(unit["TimeoutStopSec"]) >= 120


def _as_systemd(
    unit: dict[str, str], machine: machines.Machine, most: int = 9
) -> list[int]:
    """Does what systemd is documented to do; returns how trainings ended."""
    ends: list[int] = []

    def call(setting: str) -> int:
        name, *rest = unit[setting].split()
        return machine.run(pathlib.Path(name).name, *rest).returncode

    while len(ends) < most:
        if call("ExecStartPre") == 0:
            ends.append(call("ExecStart"))
        call("ExecStopPost")
        if not ends or str(ends[-1]) not in unit["RestartForceExitStatus"]:
            break
    return ends


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ("75 75 0", [75, 75, 0]),
        ("75 65 0", [75, 65]),
        ("70", [70]),
        ("137", [137]),
    ],
)
def test_a_training_that_ends_with_75_is_started_again(
    unit: dict[str, str],
    tmp_path: pathlib.Path,
    codes: str,
    expected: list[int],
) -> None:
    machine = machines.Machine(tmp_path / "machine")
    settings = machine.folder / "etc/efficientdet-aimmo"
    settings.mkdir(parents=True)
    for name in ("image", "owner"):
        (settings / name).write_text("x\n")
    (settings / "arguments").write_text("train\n--model_dir=model\n")
    (settings / "bucket").write_text("gs://my-bucket\n")
    records = machine.buckets / "my-bucket/records/train.tfrecord"
    records.parent.mkdir(parents=True)
    records.write_text("records")
    root = machine.folder / "srv/efficientdet"
    (root / "model").mkdir(parents=True)
    (machine.folder / "codes").write_text("\n".join([*codes.split(), ""]))
    # docker run: leaves a result each time, and ends with the next code.
    machine.add(
        "docker",
        machine.recording("docker")
        + '\n[[ "$1" == run ]] || exit 0; cd "$HOME"'
        + "\necho x >>srv/efficientdet/model/result.json"
        + "\ncode=$(head -n 1 codes); sed -i 1d codes; exit $code",
    )
    assert _as_systemd(unit, machine) == expected
    runs = [c for c in machine.calls("docker") if c[0] == "run"]
    assert len(runs) == len(expected)
    # The last one's files are in the bucket too.
    saved = machine.buckets / "my-bucket/model/result.json"
    assert saved.read_text() == "x\n" * len(expected)


@pytest.mark.parametrize("path", _scripts(), ids=lambda path: path.name)
def test_shellcheck_accepts_the_script(path: pathlib.Path) -> None:
    beside = pathlib.Path(sys.executable).with_name("shellcheck")
    checker = str(beside) if beside.exists() else shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck (in the extra [dev]) is not installed")
    done = subprocess.run(
        [checker, path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["machine.sh", "prepare.sh", "store.sh"])
def test_the_scripts_end_with_the_codes_of_this_project(name: str) -> None:
    text = (machines.GCP / name).read_text()
    codes = {c.name: int(c) for c in command.ExitCode}
    names = {
        "USAGE": "USAGE",
        "UNUSABLE": "DEVICE",
        "STOPPED": "STOPPED",
        "DATA": "DATA",
        "IN_USE": "EXISTS",
        "DISK": "DISK",
    }
    line = next(
        t for t in text.splitlines() if t.startswith("readonly ") and "=6" in t
    )
    found = dict(word.split("=") for word in line.split()[1:])
    assert found
    for word, code in found.items():
        assert int(code) == codes[names[word]], word
