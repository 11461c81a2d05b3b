"""What systemd and Kubernetes are told agrees with what a training does."""

from __future__ import annotations

import pathlib
import re
import shlex
import sys
from typing import Any

import pytest
import yaml

from efficientdet_aimmo import official_flags, train
from tests.deploy import units
from tfrecord_tools import command

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "efficientdet-aimmo.service"
JOB = DEPLOY / "kubernetes" / "training.yaml"
# Codes of a training, and what a shell makes of a signal.
ENDS = [int(code) for code in command.ExitCode if code != 0] + [
    1,
    130,
    137,
    143,
]
STOPPED = int(command.ExitCode.STOPPED)


def _unknown(arguments: list[str]) -> set[str]:
    """Returns the names of flags that the training does not have."""
    names = {a.removeprefix("--").partition("=")[0] for a in arguments}
    return names - set(train.FLAGS)


def _settings(arguments: list[str]) -> dict[str, str]:
    pairs = (a.removeprefix("--").partition("=") for a in arguments)
    return {name: value for name, _, value in pairs}


# systemd.


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    return units.settings(UNIT)


def test_systemd_accepts_the_unit(tmp_path: pathlib.Path) -> None:
    python = "/opt/efficientdet-aimmo/.venv/bin/python"
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(python, sys.executable))
    units.verify([copy])


def test_systemd_starts_the_training_itself(unit: dict[str, str]) -> None:
    program, *arguments = shlex.split(unit["ExecStart"])
    assert program.endswith("/bin/python")
    assert arguments[:2] == ["-m", "efficientdet_aimmo.train"]
    assert _unknown(arguments[2:]) == set()
    assert unit["Type"] == "exec"
    # It comes back with the machine, as a Spot machine does.
    assert unit["WantedBy"] == "multi-user.target"


def test_systemd_restarts_after_a_stop_alone(unit: dict[str, str]) -> None:
    assert unit["Restart"] == "no"
    assert unit["RestartForceExitStatus"] == str(STOPPED)
    assert unit["SuccessExitStatus"] == str(STOPPED)
    assert "RestartPreventExitStatus" not in unit


def test_systemd_lets_the_training_save(unit: dict[str, str]) -> None:
    assert unit["KillSignal"] == "SIGTERM"
    assert unit["KillMode"] == "mixed"  # the training alone gets it
    assert int(unit["TimeoutStopSec"]) >= 120


# Kubernetes.


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    """Returns the resources by kind."""
    return {r["kind"]: r for r in yaml.safe_load_all(JOB.read_text())}


@pytest.fixture(scope="module")
def container(resources: dict[str, Any]) -> dict[str, Any]:
    (found,) = resources["Job"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", ["Service", "Job"])
@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_accepts_the_resources(
    resources: dict[str, Any], kind: str, version: str
) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes-validate (in the extra [dev]) is not installed",
    )
    assert validate.validate(resources[kind], version, strict=True) == version


def _decide(policy: dict[str, Any], code: int, *conditions: str) -> str:
    """Returns what becomes of a failed pod: the first rule that fits.

    As documented: a rule looks at the exit codes of a container that failed,
    or at the pod's conditions; a pod that no rule fits counts.
    """
    for rule in policy["rules"]:
        codes = rule.get("onExitCodes")
        if codes:
            is_in = code in codes["values"]
            if is_in == (codes["operator"] == "In"):
                return str(rule["action"])
        for pattern in rule.get("onPodConditions", []):
            if pattern["status"] == "True" and pattern["type"] in conditions:
                return str(rule["action"])
    return "Count"


def test_kubernetes_goes_on_after_a_stop_alone(
    resources: dict[str, Any], container: dict[str, Any]
) -> None:
    policy = resources["Job"]["spec"]["podFailurePolicy"]
    for code in ENDS:
        expected = "Ignore" if code == STOPPED else "FailJob"
        assert _decide(policy, code) == expected, code
        # The node went: whatever the code, it was not the training's fault.
        assert _decide(policy, code, "DisruptionTarget") == "Ignore"
    # The policy is refused with any other restart policy.
    spec = resources["Job"]["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"
    names = {
        rule["onExitCodes"]["containerName"]
        for rule in policy["rules"]
        if "onExitCodes" in rule
    }
    assert names == {container["name"]}


def test_kubernetes_lets_the_training_save(
    resources: dict[str, Any], container: dict[str, Any]
) -> None:
    # The image's entry point stays, which becomes the training.
    assert "command" not in container
    assert container["args"][0] == "train"
    spec = resources["Job"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 120
    # Two would be in one folder otherwise.
    assert resources["Job"]["spec"]["podReplacementPolicy"] == "Failed"


def test_kubernetes_runs_the_images_user(resources: dict[str, Any]) -> None:
    spec = resources["Job"]["spec"]["template"]["spec"]
    user = re.search(
        r"^USER (\d+):(\d+)$", (DEPLOY.parent / "Dockerfile").read_text(), re.M
    )
    assert user is not None
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == int(user[1])
    # Who may write the model folder.
    assert context["runAsGroup"] == context["fsGroup"] == int(user[2])


def test_each_worker_has_the_name_that_the_others_call(
    resources: dict[str, Any], container: dict[str, Any]
) -> None:
    job, service = resources["Job"], resources["Service"]
    spec, name = job["spec"], job["metadata"]["name"]
    given = _settings(container["args"][1:])
    workers = given["worker"].split(",")
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == len(workers)
    (port,) = service["spec"]["ports"]
    domain = service["metadata"]["name"]
    # An Indexed Job calls a pod's host NAME-INDEX.
    assert workers == [
        f"{name}-{index}.{domain}:{port['port']}"
        for index in range(len(workers))
    ]
    assert spec["template"]["spec"]["subdomain"] == domain
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert container["ports"][0]["containerPort"] == port["port"]
    assert given["worker_index"] == "$(JOB_COMPLETION_INDEX)"
    assert given["strategy"] == "multi-gpus"
    assert [v["name"] for v in container["env"]] == ["JOB_COMPLETION_INDEX"]


def test_the_job_gives_flags_that_there_are(container: dict[str, Any]) -> None:
    flags = container["args"][1:]
    assert _unknown(flags) == set()
    given = set(_settings(flags))
    assert not given & set(official_flags.REFUSED)


def test_the_job_has_a_gpu_and_its_folders(
    resources: dict[str, Any], container: dict[str, Any]
) -> None:
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    spec = resources["Job"]["spec"]["template"]["spec"]
    claims = {v["name"] for v in spec["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert set(mounts) == claims
    given = _settings(container["args"][1:])
    for flag in ("train_file_pattern", "val_file_pattern", "val_json_file"):
        assert given[flag].startswith(f"{mounts['data']}/")
    assert given["model_dir"].startswith(f"{mounts['model']}/")
