"""GitHub's workflows: valid, few rights, actions pinned by commit."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"


def _read(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def _uses(text: str) -> list[str]:
    return re.findall(r"uses: *(.+)", text)


def test_there_are_those_that_are_needed() -> None:
    assert [p.stem for p in WORKFLOWS] == ["ci", "image", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_schema_accepts_them(path: pathlib.Path) -> None:
    pytest.importorskip(
        "check_jsonschema",
        reason="check-jsonschema (in the extra [dev]) is not installed",
    )
    # The schema is part of the package: nothing is fetched.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.github-workflows", str(path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: pathlib.Path) -> None:
    found = _uses(path.read_text())
    assert found
    for action in found:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_given_to_the_job_that_needs_them(
    path: pathlib.Path,
) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    given = {
        (name, right)
        for name, job in workflow["jobs"].items()
        for right in job.get("permissions", {}).items()
    }
    expected = {
        ("attach", ("contents", "write")),
        ("publish", ("id-token", "write")),
    }
    assert given == (expected if path.stem == "release" else set())
    assert "${{ secrets" not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_hangs_or_is_given_text_from_outside(
    path: pathlib.Path,
) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    for job in jobs.values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            # A shell would run what a branch is called.
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_ci_runs_what_a_developer_runs_on_both_pythons() -> None:
    (job,) = _read("ci")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11"]
    assert job["steps"][-1]["run"].startswith("make test")


def test_both_images_are_built() -> None:
    (job,) = _read("image")["jobs"].values()
    assert job["strategy"]["matrix"]["variant"] == ["cpu", "gpu"]
    runs = " ".join(step.get("run", "") for step in job["steps"])
    assert "hadolint Dockerfile" in runs
    assert 'scripts/build_image.sh "$VARIANT"' in runs


def test_a_release_is_of_a_tag_that_passed_the_tests() -> None:
    workflow = _read("release")
    # yaml reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # type: ignore[index]
    jobs = workflow["jobs"]
    runs = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert any(run.startswith("make test") for run in runs)
    assert runs.index("make dist sbom PYTHON=python") > 0
    assert jobs["attach"]["needs"] == jobs["publish"]["needs"] == "build"
    # What PyPI gets is the wheel and the sdist alone.
    (download, _) = jobs["publish"]["steps"]
    assert download["with"]["name"] == "dist"


def test_hooks_are_those_of_the_environment() -> None:
    (repository,) = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
    assert {"ruff-check", "ruff-format", "mypy"} <= {
        hook["id"] for hook in repository["hooks"]
    }
