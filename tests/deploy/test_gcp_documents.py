"""The documents' commands and messages are those that the scripts have."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from tests.deploy import machines

READMES = [
    machines.ROOT / "README.md",
    machines.ROOT / "README.ko.md",
    machines.GCP / "README.md",
]
# Those of gcloud, docker and NVIDIA's driver, and the doctor's.
_OF_OTHERS = (
    "Quota ",
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "could not select device driver",
    "Driver/library version mismatch",
    "Failed to initialize NVML",
    "buckets describe ... 404",
    "NVIDIA_V100_GPUS",
    "PREEMPTIBLE_NVIDIA_T4_GPUS",
)
_HEADS = ("| message |", "| 메시지 |")


def _sources() -> str:
    """Returns all messages, joined where a source breaks them."""
    paths = [*machines.GCP.glob("*.sh")]
    paths += (machines.ROOT / "efficientdet_aimmo").rglob("*.py")
    text = "\n".join(path.read_text() for path in paths)
    text = text.replace("\\\n", "")  # shell
    return re.sub(r'"\n\s*f?"', "", text)  # Python


def _messages(path: pathlib.Path) -> list[str]:
    text = path.read_text()
    start = max(text.find(head) for head in _HEADS)
    rows = text[start:].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) >= 10
    return [
        m for row in rows for m in re.findall(r"`(.*?)`", row.split(" | ")[0])
    ]


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.name)
def test_messages_are_printed_by_something(path: pathlib.Path) -> None:
    sources = _sources()
    for message in _messages(path):
        if message.startswith(_OF_OTHERS):
            continue
        fixed = message.removeprefix("error: ")
        # What stands for a value, and the value an example has.
        for part in re.split(
            r"\.\.\.|gs://|\b(?:ZONE|IMAGE)\b|europe-west4-a|nvidia-tesla-v100|"
            r"(?<=ended with) 1|--train_file_pattern=|--model_dir=",
            fixed,
        ):
            assert part.strip() in sources, message


@pytest.mark.parametrize("path", READMES[:2], ids=lambda p: p.name)
def test_commands_are_accepted(
    path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    machine = machines.Machine(tmp_path / "here")
    text = path.read_text().replace("\\\n", " ")
    block = [t.strip() for t in text.splitlines() if t.startswith("    ")]
    settings = [t for t in block if re.match(r"(IMAGE|ON)=", t)]
    commands = [t for t in block if t.startswith("deploy/gcp/machine.sh")]
    verbs = [shlex.split(t)[1] for t in commands]
    assert verbs == ["create", "run", "doctor", "logs", "tensorboard", "delete"]
    for command in commands:
        words = command.replace(" $ON", " $ON --dry_run", 1)
        machine.add(
            "shown", "\n".join([*settings, f"cd {machines.ROOT}", words])
        )
        done = machine.call("shown")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("gcloud ")


def test_both_readmes_have_the_same_commands_and_messages() -> None:
    english, korean = READMES[:2]
    assert _messages(english) == _messages(korean)

    def commands(path: pathlib.Path) -> list[str]:
        lines = path.read_text().splitlines()
        return [
            line.partition("  #")[0].rstrip()
            for line in lines
            if re.match(
                r"    (gcloud|deploy/gcp|docker|scripts/|IMAGE=|ON=)", line
            )
        ]

    assert len(commands(english)) >= 15
    assert commands(english) == commands(korean)


def test_it_says_that_it_was_not_run() -> None:
    assert "**What was not run.**" in READMES[2].read_text()
    assert "None of this was run on Google Cloud" in READMES[0].read_text()
