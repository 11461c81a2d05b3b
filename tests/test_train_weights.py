"""--ckpt and --backbone_ckpt of the training command, before the first step."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.pretrained import download, files
from efficientdet_aimmo.training import loop
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from hparams import presets
from tests import train_cases

cmd = train_cases.cmd
Command = train_cases.Command


@pytest.fixture
def runs(cmd: Command, monkeypatch: pytest.MonkeyPatch) -> list[run_lib.Run]:
    """What training would begin with; `cmd` is set up before."""
    seen: list[run_lib.Run] = []

    def begin(_: config_lib.Config, run: run_lib.Run) -> None:
        seen.append(run)
        raise train_cases.Started

    monkeypatch.setattr(loop, "train", begin)
    return seen


@pytest.fixture
def fetched(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """A checkpoint that every name is fetched to."""
    path = tmp_path / "cache" / "model"
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=["a"],
        shape_and_slices=[""],
        tensors=[tf.zeros([1])],
    )
    monkeypatch.setattr(download, "fetch", lambda *_: str(path))
    return path


@pytest.mark.parametrize(
    ("flag", "heads", "is_backbone"),
    [
        ("--ckpt=efficientdet-d0", "auto", False),
        ("--ckpt=efficientdet-d0 --reuse_head=none", "none", False),
        ("--backbone_ckpt=efficientnet-b0", "auto", True),
    ],
)
def test_published_weights_by_name(
    cmd: Command,
    runs: list[run_lib.Run],
    fetched: pathlib.Path,
    flag: str,
    heads: str,
    is_backbone: bool,
) -> None:
    cmd.start(*flag.split())
    start = runs[0].warm_start
    assert start is not None
    assert start.place == files.Place(str(fetched), files.Kind.TENSORFLOW)
    assert (start.heads, start.is_backbone) == (heads, is_backbone)


@pytest.mark.usefixtures("fetched")
def test_a_file_of_that_name_comes_first(
    cmd: Command,
    runs: list[run_lib.Run],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint_dir = tmp_path / "efficientdet-d0" / "checkpoints"
    checkpoint_dir.mkdir(parents=True)
    cmd.start("--ckpt=efficientdet-d0")
    start = runs[0].warm_start
    assert start is not None
    assert start.place == ("efficientdet-d0", files.Kind.OWN_MODEL_DIR)


def test_an_empty_flag_is_none(cmd: Command, runs: list[run_lib.Run]) -> None:
    cmd.start("--backbone_ckpt=")  # the official default
    assert runs[0].warm_start is None


@pytest.mark.parametrize(
    ("code", "flags", "words"),
    [
        (
            64,
            "--ckpt=a --backbone_ckpt=b",
            "--ckpt=a and --backbone_ckpt=b were both given. The weights of a"
            " detector hold its backbone: give one of them.",
        ),
        (
            64,
            "--backbone_ckpt=efficientdet-d0",
            "--backbone_ckpt=efficientdet-d0 names the published weights of a"
            " detector, expected those of a backbone. Use"
            " --ckpt=efficientdet-d0.",
        ),
        (
            65,
            "--ckpt=models/d9",
            "There are no weights at models/d9. Expected a model_dir or"
            " checkpoint of this package, a TensorFlow checkpoint (its folder,"
            " or its path without .index), an .h5 file of Keras weights, or a"
            " .pth file of PyTorch weights.",
        ),
    ],
)
def test_mistake(cmd: Command, code: int, flags: str, words: str) -> None:
    assert cmd.fault(code, *flags.split()) == words
    assert not (cmd.model_dir / "config.json").exists()


def test_a_misspelt_name(cmd: Command) -> None:
    said = cmd.fault(64, "--ckpt=efficientdet-d9")
    assert said.startswith(
        "There are no published weights called 'efficientdet-d9'. Did you mean"
    )


def test_a_run_that_goes_on_does_not_read_them(
    cmd: Command, runs: list[run_lib.Run]
) -> None:
    checkpoint.save(
        str(cmd.model_dir),
        7,
        {"step": tf.Variable(7, dtype=tf.int64)},
        checkpoint.Meta(
            presets.get_config("efficientdet-d0"), ("car",), "", ""
        ),
        1,
    )
    said = cmd.start("--ckpt=gone")
    assert (
        "--ckpt=gone is not read: the run goes on from its own checkpoint."
        in said
    )
    assert runs[0].warm_start is None
