"""The flags of the official main.py: what they set, and what is refused."""

from __future__ import annotations

import pathlib

import pytest
from absl import flags

from efficientdet_aimmo import official_flags, train
from hparams import config as config_lib
from tfrecord_tools import command

# All flags of the official main.py.
OFFICIAL = """
    tpu gcp_project tpu_zone eval_name strategy use_fake_data use_xla model_dir
    backbone_ckpt ckpt hparams num_cores use_spatial_partition
    num_cores_per_replica input_partition_dims train_batch_size eval_batch_size
    eval_samples iterations_per_loop save_checkpoints_steps train_file_pattern
    val_file_pattern val_json_file testdev_dir num_examples_per_epoch num_epochs
    mode model_name eval_after_train profile min_eval_interval eval_timeout
    run_epoch_in_child_process tf_random_seed
"""


def _parsed(*given: str) -> flags.FlagValues:
    train.FLAGS.unparse_flags()
    train.FLAGS(
        [
            "train",
            "--train_file_pattern=none",
            "--model_dir=none",
            "--model_name=efficientdet-d0",
            *given,
        ]
    )
    return train.FLAGS


def _resolve(
    *given: str,
) -> tuple[config_lib.Config, tuple[str, ...] | None]:
    return official_flags.resolve(_parsed(*given))


def _fault(*given: str) -> str:
    with pytest.raises(command.UserError) as caught:
        _resolve(*given)
    assert caught.value.exit_code == command.ExitCode.USAGE
    return str(caught.value)


def test_every_official_flag_is_known() -> None:
    official = set(OFFICIAL.split())
    assert official - set(train.FLAGS) == set()
    known = {*official_flags.REFUSED, *official_flags.LEAVES}
    assert known - official == set()


@pytest.mark.parametrize("name", sorted(official_flags.REFUSED))
@pytest.mark.parametrize("value", ["true", "1"])
def test_a_flag_without_a_meaning_here_says_what_to_use(
    name: str, value: str
) -> None:
    instead = official_flags.REFUSED[name]
    assert _fault(f"--{name}={value}") == (
        f"--{name} has no effect here: {instead}."
    )


def test_mode_eval_says_what_to_use() -> None:
    assert _fault("--mode=eval") == (
        "--mode=eval does not exist here: use python -m"
        " efficientdet_aimmo.evaluate on the finished --model_dir."
    )


def _two_values(
    name: str,
) -> tuple[int, int] | tuple[str, str] | tuple[bool, bool]:
    if name == "use_xla":
        return True, False
    return ("gpus", "multi-gpus") if name == "strategy" else (17, 18)


@pytest.mark.parametrize("name", sorted(official_flags.LEAVES))
def test_a_flag_sets_its_hyper_parameter(name: str) -> None:
    leaf = config_lib.LEAVES[official_flags.LEAVES[name]]
    value, _ = _two_values(name)
    config, names = _resolve(f"--{name}={value}")
    assert getattr(getattr(config, leaf.section), leaf.name) == value
    assert names is None
    same, _ = _resolve(f"--{name}={value}", f"--hparams={leaf.name}={value}")
    assert same == config


@pytest.mark.parametrize("name", sorted(official_flags.LEAVES))
def test_flag_and_hparams_must_agree(name: str) -> None:
    leaf = official_flags.LEAVES[name]
    section = config_lib.LEAVES[leaf].section
    one, other = _two_values(name)
    for spelling in (leaf, f"{section}.{leaf}"):
        assert _fault(f"--{name}={one}", f"--hparams={spelling}={other}") == (
            f"--{name}={one}, but --hparams says {leaf}={other}. Give one of"
            " them."
        )


def test_own_flags_set_their_hyper_parameters() -> None:
    config, _ = _resolve("--bad_records=skip", "--bad_records_max_share=.2")
    runtime = config.runtime
    assert (runtime.bad_records, runtime.bad_records_max_share) == ("skip", 0.2)
    config, _ = _resolve("--on_nan=skip", "--max_skipped_steps=3")
    assert (config.runtime.on_nan, config.runtime.max_skipped_steps) == (
        "skip",
        3,
    )
    assert "--on_nan=skip, but --hparams says on_nan=stop" in _fault(
        "--on_nan=skip", "--hparams=on_nan=stop"
    )
    assert "expected one of 'stop', 'skip'" in _fault("--on_nan=ignore")
    config, _ = _resolve("--preemption_notice=off")
    assert config.runtime.preemption_notice == "off"


def test_hparams_come_on_top_of_the_recipe() -> None:
    config, _ = _resolve("--recipe=overfit", "--hparams=learning_rate=0.5")
    assert config.optimizer.optimizer == "adam"
    assert config.optimizer.learning_rate == 0.5
    assert "Did you mean 'overfit'?" in _fault("--recipe=overfitt")


def test_label_map_is_handed_on_as_names(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("label_map: {1: car, 2: truck}\nnum_classes: 2\n")
    config, names = _resolve(f"--hparams={path}")
    assert names == ("car", "truck")
    assert config.model.num_classes == 2


def test_flag_and_a_section_of_the_file_must_agree(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train: {num_epochs: 18}\n")
    assert "but --hparams says num_epochs=18." in _fault(
        "--num_epochs=17", f"--hparams={path}"
    )


def test_a_project_of_the_pytorch_port(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(
        "num_gpus: 1\nanchors_ratios: '[(1.4, 0.7)]'\nobj_list: [car]\n"
    )
    config, names = _resolve(
        f"--hparams={path},learning_rate=1e-4", "--num_epochs=17"
    )
    assert names == ("car",)
    assert config.anchors.aspect_ratios == ((1.4, 0.7),)
    assert config.optimizer.learning_rate == 1e-4
    assert config.train.num_epochs == 17


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "--hparams=learnig_rate=0.1",
            "Unknown hyper-parameter 'learnig_rate'. Did you mean"
            " 'learning_rate'?",
        ),
        (
            "--hparams=num_classes=four",
            "Hyper-parameter 'num_classes' is 'four', expected an integer.",
        ),
        (
            "--train_batch_size=0",
            "Hyper-parameter 'train_batch_size' is 0, expected at least 1.",
        ),
        (
            "--num_epochs=many",
            "Hyper-parameter 'num_epochs' is 'many', expected an integer.",
        ),
        (
            "--hparams={0: car}",
            "--hparams: Hyper-parameters as text are name=value,name=value,"
            " got '{0: car}'. A file's name ends in .yaml and comes first.",
        ),
        (
            "--model_name=eficientdet-d0",
            "Unknown model name 'eficientdet-d0'. Did you mean"
            " 'efficientdet-d0'? Known are: ",
        ),
    ],
)
def test_mistakes(given: str, message: str) -> None:
    assert _fault(given).startswith(message)
