"""What the image's entry point makes of the words it is given."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.image import dockerfile

MODULES: dict[str, str] = dockerfile.entrypoint().MODULES
COMPUTING = ["train", "evaluate", "predict", "bench"]

# Writes down how it was started, and is the check or the command. The check
# waits for the end of its input if it is told to. The signals held back are
# read without another program: a shell that starts one holds back all of them.
FAKE = """#!/bin/sh
{
    printf '%s' "$$"
    printf '|%s' "$@"
    echo
} >>"$CALLS"
while read -r name value; do
    [ "$name" = SigBlk: ] && echo "$value" >>"$CALLS.masks"
done </proc/$$/status
echo "$TF_CPP_MIN_LOG_LEVEL" >>"$CALLS.levels"
if [ "$4" = --quick ]; then
    case $CHECK in
        wait) echo checking; read -r _; exit 0 ;;
        crash) kill -KILL $$ ;;
        *) exit "$CHECK" ;;
    esac
fi
exit "${COMMAND:-0}"
"""


class Container:
    """A folder with fakes of the programs that the entry point starts."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._calls = folder / "calls"
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name in ("python", "bash"):
            path = self._programs / name
            path.write_text(FAKE)
            path.chmod(0o755)

    def start(
        self, *words: str, check: str = "0", command: str = "0"
    ) -> subprocess.Popen[str]:
        """Starts it as the image does."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", dockerfile.ENTRYPOINT, *words],
            env={
                "PATH": f"{self._programs}:{os.defpath}",
                "CALLS": str(self._calls),
                "CHECK": check,
                "COMMAND": command,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **options: Any) -> tuple[int, int, str, str]:
        """Returns process number, exit code, output and messages."""
        process = self.start(*words, **options)
        out, err = process.communicate()
        return process.pid, process.returncode, out, err

    def calls(self) -> list[list[str]]:
        """Returns process number and arguments of every program started."""
        if not self._calls.exists():
            return []
        return [c.split("|") for c in self._calls.read_text().splitlines()]

    def level(self) -> str:
        """Returns what the last program knew of TensorFlow's messages."""
        return pathlib.Path(f"{self._calls}.levels").read_text().split("\n")[-2]

    def holds_back(self) -> bool:
        """Returns whether the last program started with SIGTERM blocked."""
        mask = pathlib.Path(f"{self._calls}.masks").read_text().split()[-1]
        return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))


@pytest.fixture
def container(tmp_path: pathlib.Path) -> Container:
    return Container(tmp_path)


def _module(word: str) -> list[str]:
    quiet = ["-W", "ignore"] if word == "tensorboard" else []
    return [*quiet, "-P", "-m", MODULES[word]]


CHECK = ["-P", "-m", "efficientdet_aimmo.doctor", "--quick"]


@pytest.mark.parametrize("word", sorted(MODULES))
def test_a_word_is_a_module_that_there_is(word: str) -> None:
    assert importlib.util.find_spec(MODULES[word]) is not None


def test_every_command_has_a_word() -> None:
    commands = set(dockerfile.console_modules())
    assert commands <= set(MODULES.values())


@pytest.mark.parametrize("word", sorted(set(MODULES) - set(COMPUTING)))
def test_a_word_becomes_its_module(container: Container, word: str) -> None:
    given = ["--a=1", "--b=two words", "", "*"]
    pid, code, _, err = container.run(word, *given, command="65")
    host = ["--host=0.0.0.0"] if word == "tensorboard" else []
    # One program only, in the place of the entry point itself.
    assert container.calls() == [[str(pid), *_module(word), *given, *host]]
    assert (code, err) == (65, "")
    # Everything of this package hears the signal that came in between.
    assert container.holds_back() == (word != "tensorboard")
    # Our own commands set it themselves, where they do not want to hear more.
    assert container.level() == ("3" if word == "tensorboard" else "")


@pytest.mark.parametrize("word", COMPUTING)
def test_what_computes_is_checked_first(
    container: Container, word: str
) -> None:
    pid, code, _, err = container.run(word, "--b=two words", command="70")
    check, command = container.calls()
    assert check[1:] == CHECK
    assert check[0] != str(pid)
    assert command == [str(pid), *_module(word), "--b=two words"]
    assert (code, err) == (70, "")
    assert container.holds_back()


@pytest.mark.parametrize("word", COMPUTING)
def test_a_device_that_fails_the_check_ends_it(
    container: Container, word: str
) -> None:
    _, code, _, _ = container.run(word, "--a=1", check="69")
    assert code == 69
    assert [call[1:] for call in container.calls()] == [CHECK]


def test_a_check_that_breaks_is_a_device_that_is_broken(
    container: Container,
) -> None:
    _, code, _, err = container.run("train", check="crash")
    assert code == 69
    assert "ended by signal 9" in err
    assert len(container.calls()) == 1


@pytest.mark.parametrize(
    "flag",
    ["--allow_cpu", "-allow_cpu", "--allow_cpu=false", "--noallow_cpu"],
)
def test_the_check_hears_of_allow_cpu(container: Container, flag: str) -> None:
    given = ["--model_dir=allow_cpu", flag, "--allow_cpus"]
    container.run("train", *given)
    check, command = container.calls()
    assert check[1:] == [*CHECK, flag]
    assert command[1:] == [*_module("train"), *given]


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "-h"])
def test_help_needs_no_device(container: Container, flag: str) -> None:
    container.run("train", flag, check="69")
    assert [c[1:] for c in container.calls()] == [[*_module("train"), flag]]


@pytest.mark.parametrize("flag", ["--host=10.0.0.1", "--bind_all"])
def test_tensorboard_listens_where_it_is_told(
    container: Container, flag: str
) -> None:
    container.run("tensorboard", "--logdir=model", flag)
    (call,) = container.calls()
    assert call[1:] == [*_module("tensorboard"), "--logdir=model", flag]


@pytest.mark.parametrize("word", ["python", "bash"])
def test_python_and_bash_start_as_they_are(
    container: Container, word: str
) -> None:
    pid, code, _, _ = container.run(word, "-c", "two words", command="3")
    assert container.calls() == [[str(pid), "-c", "two words"]]
    assert code == 3
    assert not container.holds_back()
    assert container.level() == ""


def test_a_whole_path_starts_as_it_is(
    container: Container, tmp_path: pathlib.Path
) -> None:
    _, code, _, _ = container.run(str(tmp_path / "bin" / "bash"), "a b")
    assert code == 0
    assert [call[1:] for call in container.calls()] == [["a b"]]


def test_a_path_without_a_program_is_said(container: Container) -> None:
    _, code, _, err = container.run("/no/such/program")
    assert code == 127
    assert err == "error: /no/such/program: No such file or directory.\n"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("trian", "train"),
        ("import_weights", "import-weights"),
        ("tensorbord", "tensorboard"),
        ("--mode=train", None),
        ("", None),
    ],
)
def test_an_unknown_word_is_refused(
    container: Container, word: str, near: str | None
) -> None:
    _, code, out, err = container.run(word, "--a=1")
    assert (code, out, container.calls()) == (64, "", [])
    assert err.startswith(f"error: {word!r} is no command of this image.")
    assert ("Did you mean" in err) == (near is not None)
    if near is not None:
        assert f"Did you mean {near!r}?" in err
    assert all(name in err for name in MODULES)


@pytest.mark.parametrize(
    ("words", "code"), [([], 64), (["help"], 0), (["--help"], 0)]
)
def test_without_a_word_the_words_are_listed(
    container: Container, words: Sequence[str], code: int
) -> None:
    _, ended, out, err = container.run(*words)
    assert (ended, container.calls()) == (code, [])
    text = out if code == 0 else err
    assert text.startswith("docker run ")
    assert all(name in text for name in MODULES)


def test_a_stop_during_the_check_is_a_stop(container: Container) -> None:
    process = container.start("train", check="wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "checking\n"
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    _, err = process.communicate()
    assert code == 75
    assert "Stopped on request (SIGTERM) before the command began" in err
    assert [call[1:] for call in container.calls()] == [CHECK]
