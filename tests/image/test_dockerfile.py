"""What the image is made of, and how it is left."""

from __future__ import annotations

import fnmatch
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.image import dockerfile

STAGES = dockerfile.stages()
FINAL = STAGES[""]
ALL = [one for stage in STAGES.values() for one in stage]


def _tool(name: str) -> str:
    """Returns a tool of the extra [dev]; skips where it is missing."""
    beside = pathlib.Path(sys.executable).parent
    found = shutil.which(name, path=str(beside)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} (in the extra [dev]) is not installed")
    return found


def _environment() -> dict[str, str]:
    text = " ".join(rest for name, rest in FINAL if name == "ENV")
    return dict(word.split("=", 1) for word in shlex.split(text))


def _only(name: str) -> str:
    (found,) = (rest for given, rest in FINAL if given == name)
    return found


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [_tool("hadolint"), str(dockerfile.DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_has_nothing_to_say() -> None:
    script = dockerfile.ROOT / "scripts" / "build_image.sh"
    done = subprocess.run(
        [_tool("shellcheck"), str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_named_by_an_argument() -> None:
    assert STAGES["before"] == [("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")]
    bases = {rest.split()[0] for name, rest in ALL if name == "FROM"}
    assert bases == {"${BASE_IMAGE}", "tools", "packages"}


def test_packages_are_the_locked_ones_by_their_hashes() -> None:
    runs = " && ".join(rest for name, rest in ALL if name == "RUN")
    commands = [
        c
        for c in runs.split("&&")
        if re.search(r"\bpip\b.* (install|wheel) ", c)
    ]
    assert len(commands) == 5
    for command in commands:
        # Fetched by hash, or nothing fetched at all; never what a package
        # asks for, because the lock has all of it.
        assert ("--require-hashes" in command) != ("--no-index" in command)
        assert "--no-deps" in command
    locks = re.findall(r"--requirement \"?(\S+?)\"?(?=\s|$)", runs)
    assert locks == ["requirements/build.lock", "requirements/${VARIANT}.lock"]
    assert re.search(r"pip \S+ \S+ check\b", runs)
    for lock in ("build", "cpu", "gpu"):
        assert (dockerfile.ROOT / "requirements" / f"{lock}.lock").exists()


def test_nothing_is_taken_from_an_address() -> None:
    assert not [rest for name, rest in ALL if name == "ADD"]
    text = " ".join(rest for _, rest in ALL)
    assert "://" not in text
    assert not re.search(r"\b(curl|wget|git|apt-get)\b", text)


def test_a_change_of_the_code_leaves_the_packages() -> None:
    """Each stage is made anew from its first changed line on."""

    def copied(stage: str) -> list[str]:
        return [rest for name, rest in STAGES[stage] if name == "COPY"]

    locks = "requirements/build.lock requirements/${VARIANT}.lock"
    assert copied("tools") == ["requirements/build.lock requirements/"]
    assert copied("wheels") == ["requirements/${VARIANT}.lock requirements/"]
    # Both locks, because a builder may not look into what is only mounted.
    assert copied("packages") == [f"{locks} /opt/efficientdet/requirements/"]
    assert FINAL[0] == ("FROM", "packages")
    assert copied("") == ["--from=project /project/ /"]
    # A new commit alone must not touch the packages either.
    for stage in ("tools", "wheels", "packages"):
        assert "REVISION" not in str(STAGES[stage])


def test_the_packages_come_without_the_tools() -> None:
    (run,) = (rest for name, rest in STAGES["packages"] if name == "RUN")
    # Lent to one command: in the layer is what it wrote to /opt.
    assert run.startswith(
        "--mount=type=bind,from=wheels,source=/mnt,target=/mnt python3 -m venv"
    )
    assert "--without-pip" in run


def test_the_package_says_what_it_was_built_from() -> None:
    names = [f"{name} {rest}"[:40] for name, rest in STAGES["project"]]
    (run,) = (r for n, r in STAGES["project"] if n == "RUN" and "COMMIT" in r)
    # What is not declared is empty.
    assert names.index("ARG REVISION=") < names.index(f"RUN {run}"[:40])
    assert 'echo "${REVISION}" >efficientdet_aimmo/COMMIT' in run


def test_the_context_is_what_is_copied() -> None:
    lines = (dockerfile.ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for name, rest in ALL
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    for source in copied:
        assert [a for a in allowed if fnmatch.fnmatch(source, a)], source
    for a in allowed:
        assert [s for s in copied if fnmatch.fnmatch(s, a)], a
    for source in copied - {"requirements/${VARIANT}.lock"}:
        assert (dockerfile.ROOT / source).exists()


def test_the_last_stage_builds_nothing() -> None:
    (run,) = (rest for name, rest in FINAL if name == "RUN")
    assert not re.search(r"pip|python|/build", run)


def test_it_is_nobody_special() -> None:
    user = _only("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    names = [name for name, _ in FINAL]
    assert names.index("USER") < names.index("ENTRYPOINT")
    folders = {"/data", "/cache", "/cache/cuda", "/cache/matplotlib"}
    (run,) = (rest for name, rest in FINAL if name == "RUN")
    made = run[run.index("install -d -m 1777") :].split()[4:]
    assert set(made) == folders
    assert _only("WORKDIR") == "/data"
    assert _only("VOLUME") == "/cache"


def test_no_shell_stands_between_the_signal_and_the_command() -> None:
    words = json.loads(_only("ENTRYPOINT"))
    assert words[0] == "/opt/efficientdet/bin/python"
    assert words[-1] == "/opt/efficientdet/entrypoint.py"
    assert _only("STOPSIGNAL") == "SIGTERM"
    assert "CMD" not in [name for name, _ in FINAL]


def test_whoever_runs_it_has_places_to_write() -> None:
    environment = _environment()
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "CUDA_CACHE_PATH"):
        assert f"{environment[name]}/".startswith("/cache/")
    assert environment["PATH"].startswith("/opt/efficientdet/bin:")


def test_the_gpu_is_asked_for() -> None:
    environment = _environment()
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_what_tensorflow_does_not_look_for_itself_is_found() -> None:
    folders = _environment()["LD_LIBRARY_PATH"].split(":")
    # The environment's Python is the base's, which the first stage looks at.
    assert folders == [
        "/opt/efficientdet/lib/python3.11/site-packages/nvidia/cuda_cupti/lib",
        "/usr/local/nvidia/lib64",
    ]
    assert "== (3, 11)" in str(STAGES["tools"])


def test_it_says_what_it_is() -> None:
    labels = _only("LABEL")
    prefix = "org.opencontainers.image"
    found = dict(re.findall(rf'{prefix}\.(\w+)="([^"]*)"', labels))
    assert set(found) == {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
    }
    assert found["licenses"] == "Apache-2.0"
    assert found["version"] == "${VERSION}"
    assert found["revision"] == "${REVISION}"
