"""docs/licences.md names what the lock installs, with what was looked at."""

from __future__ import annotations

import re

import pytest

from scripts import list_licences

LOCKED = list_licences.locked(list_licences.LOCK.read_text())


def _package(name: str, licence: str) -> dict[str, str]:
    return {"Name": name, "Version": "1.0", "License": licence}


def test_the_page_names_every_package_of_the_lock() -> None:
    text = list_licences.TARGET.read_text()
    named = set(re.findall(r"^\| ([a-z][\w.-]*) \| \d", text, re.M))
    always = {name for name, is_always in LOCKED.items() if is_always}
    assert len(always) > 100
    missing = sorted(always - named)
    assert not missing, f"make licences: {missing}"
    cuda = {name for name in named if name.startswith("nvidia-")}
    assert named - cuda <= set(LOCKED)
    if list_licences.CUDA_LOCK.exists():
        text = list_licences.CUDA_LOCK.read_text()
        missing = sorted(set(list_licences.locked(text)) - named - set(LOCKED))
        assert not missing, f"make licences: {missing}"


def test_what_cuda_adds_is_named_as_not_free() -> None:
    lock = "nvidia-cublas-cu12==12.2.5.6 ; sys_platform\nabsl-py==1.4.0 \\\n"
    assert list_licences.cuda_rows(lock, {"absl-py": True}) == [
        "| nvidia-cublas-cu12 | 12.2.5.6 | NVIDIA Proprietary Software |"
    ]
    with pytest.raises(ValueError, match=r"gpu\.lock has absl-py"):
        list_licences.cuda_rows(lock, {})


def test_versions_are_those_of_the_lock() -> None:
    text = list_licences.TARGET.read_text()
    rows = re.findall(r"^\| ([a-z][\w.-]*) \| (\d\S*) \|", text, re.M)
    lock = re.sub(
        r"^[\w.-]+(?===)",
        lambda m: m[0].lower().replace("_", "-"),
        list_licences.LOCK.read_text(),
        flags=re.M,
    )
    for name, version in rows:
        if name.startswith("nvidia-"):
            continue
        assert f"\n{name}=={version} " in lock, f"make licences: {name}"


def test_a_licence_nobody_looked_at_is_an_error() -> None:
    packages = [_package("some_name", "GNU General Public License (GPL)")]
    with pytest.raises(ValueError, match="looked at the licence of some-name"):
        list_licences.page(packages, {"some-name": True}, "", "Python")


def test_a_package_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"names other, which \.venv lacks"):
        list_licences.page([], {"other": True}, "", "Python")


def test_a_package_of_another_python_may_be_missing() -> None:
    names = {"some-name": True, "other": False}
    text = list_licences.page(
        [_package("some.name", "MIT")], names, "", "Python"
    )
    assert "| some-name | 1.0 | MIT |" in text
    assert "other" not in text.partition("## All")[2]


def test_a_licence_that_is_given_as_its_text_is_shortened() -> None:
    assert list_licences.short("MIT License\n\nCopyright ...") == "MIT"
    assert list_licences.short("") == "UNKNOWN"
