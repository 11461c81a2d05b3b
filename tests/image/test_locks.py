"""The image's locks agree with that of the environment it was tested in."""

from __future__ import annotations

import re

import pytest

from tests.image import dockerfile

REQUIREMENTS = dockerfile.ROOT / "requirements"


def _pins(name: str) -> dict[str, set[str]]:
    """Returns version and condition of each package, by its name."""
    text = (REQUIREMENTS / f"{name}.lock").read_text()
    found: dict[str, set[str]] = {}
    for package, pin in re.findall(r"^([\w.-]+)==(.*?) *\\?$", text, re.M):
        found.setdefault(package, set()).add(pin)
    return found


def _versions(pins: set[str]) -> set[str]:
    return {pin.split(" ", 1)[0] for pin in pins}


@pytest.mark.parametrize("name", ["cpu", "gpu", "build"])
def test_versions_are_those_that_were_tested(name: str) -> None:
    tested = _pins("dev")
    for package, pins in _pins(name).items():
        if not package.startswith("nvidia-"):
            assert _versions(pins) <= _versions(tested[package]), package


def test_the_gpu_has_cudas_packages_more() -> None:
    cpu, gpu = _pins("cpu"), _pins("gpu")
    more = {name: pins for name, pins in gpu.items() if name not in cpu}
    assert {name: gpu[name] for name in cpu} == cpu
    assert all(re.fullmatch(r"nvidia-[\w-]+-cu12", name) for name in more)
    # What TensorFlow 2.15.1 was built with.
    (runtime,) = _versions(more["nvidia-cuda-runtime-cu12"])
    (cudnn,) = _versions(more["nvidia-cudnn-cu12"])
    assert runtime.startswith("12.2.")
    assert cudnn.startswith("8.9.")
    assert len(more) == 12


def test_neither_has_tools_of_development() -> None:
    for name in ("cpu", "gpu"):
        tools = {"pytest", "mypy", "ruff", "uv", "hypothesis", "setuptools-scm"}
        assert not tools & set(_pins(name))
