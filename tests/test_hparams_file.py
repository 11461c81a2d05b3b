"""The --hparams flag: YAML files and text."""

from __future__ import annotations

import pathlib

import pytest

from efficientdet_aimmo import hparams_file
from hparams import config, official, override
from tfrecord_tools import command

BASE = config.Config()


def _written(folder: pathlib.Path, text: str | bytes) -> str:
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def _message(text: str) -> str:
    with pytest.raises(command.UserError) as caught:
        hparams_file.parse_hparams(text)
    assert caught.value.exit_code == command.ExitCode.USAGE
    return str(caught.value)


YAML = """\
# as written in 2022
num_classes: 4
label_map: {1: car, 2: truck, 3: bus, 4: pedestrian}
lr_warmup_init: 1e-3
learning_rate: 8.0e-3
image_size: 960x512
input_rand_hflip: no
moving_average_decay: 0
nms_configs:
  iou_thresh: null
  max_output_size: 50
optimizer:
  optimizer: adam
"""
TEXT = (
    "num_classes=4,label_map=[car,truck,bus,pedestrian],lr_warmup_init=0.001,"
    "learning_rate=0.008,image_size=960x512,input_rand_hflip=no,"
    "moving_average_decay=0,nms_configs.max_output_size=50,optimizer=adam"
)


def test_file_and_text_give_equal_objects(tmp_path: pathlib.Path) -> None:
    made = []
    for given in (_written(tmp_path, YAML), TEXT):
        rest, names = official.split_label_map(
            hparams_file.parse_hparams(given)
        )
        assert names == ("car", "truck", "bus", "pedestrian")
        made.append(override.override(BASE, rest))
    assert made[0] == made[1]
    assert made[0].data.image_size == (512, 960)
    assert made[0].optimizer.lr_warmup_init == 0.001
    assert made[0].augment.input_rand_hflip is False
    assert made[0].nms.iou_thresh == BASE.nms.iou_thresh


def test_pairs_are_the_same_as_yaml_lists_and_as_text(
    tmp_path: pathlib.Path,
) -> None:
    texts = (
        "aspect_ratios: [[1.0, 1.0], [1.4, 0.7]]\nanchor_scale: [4,4,3,5,4]\n",
        "aspect_ratios: '[(1.0, 1.0), (1.4, 0.7)]'\n"
        "anchor_scale: '[4, 4, 3, 5, 4]'\n",
        "anchors:\n  aspect_ratios:\n  - [1, 1]\n  - (1.4,0.7)\n"
        "  anchor_scale: 4*4*3*5*4\n",
    )
    made = []
    for text in texts:
        path = _written(tmp_path, text)
        made.append(override.override(BASE, hparams_file.parse_hparams(path)))
    text = "aspect_ratios=[[1.0,1.0],[1.4,0.7]],anchor_scale=[4,4,3,5,4]"
    made.append(override.override(BASE, hparams_file.parse_hparams(text)))
    assert made[0].anchors.aspect_ratios == ((1.0, 1.0), (1.4, 0.7))
    assert made[0].anchors.anchor_scale == (4.0, 4.0, 3.0, 5.0, 4.0)
    assert made == [made[0]] * 4


def test_nothing_given() -> None:
    assert hparams_file.parse_hparams("") == {}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_empty_file_is_an_empty_mapping(
    tmp_path: pathlib.Path, text: str
) -> None:
    assert hparams_file.parse_hparams(_written(tmp_path, text)) == {}


def test_merge_keys_are_no_key_given_twice(tmp_path: pathlib.Path) -> None:
    path = _written(
        tmp_path,
        "nms: &one {sigma: 0.3}\nnms_configs: {<<: *one, method: hard}\n",
    )
    assert hparams_file.parse_hparams(path) == {
        "nms": {"sigma": 0.3},
        "nms_configs": {"sigma": 0.3, "method": "hard"},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "seed: 1\nnum_epochs: 2\nseed: 3\n",
            ", line 3: the key 'seed' of line 1 is given again.",
        ),
        (
            "label_map:\n  1: car\n  1: bus\n",
            ", line 3: the key 1 of line 2 is given again.",
        ),
        ("a: [1, 2\n", ", line 2: "),
        ("a: 1\n b: 2\n", ", line 2: "),
        ("a: 1\n---\nb: 1\n", ", line 2: but found another document."),
        ("? [1, 2]\n: 3\n", ", line 1: the key [1, 2] is no name."),
        ("a: !!python/object/apply:os.getcwd []\n", ", line 1: "),
        ("a: 2020-13-45\n", ": month must be in 1..12."),
        ("- a\n- b\n", " holds a list, expected lines of 'name: value'."),
        ("learning_rate\n", " holds a str, expected lines of"),
        (b"a: \xff\xfe\n", "config.yaml"),
        (b"\x00", "config.yaml"),
        ("[" * 5000, "config.yaml"),
    ],
    ids=range(13),
)
def test_faulty_file(
    tmp_path: pathlib.Path, text: str | bytes, words: str
) -> None:
    path = _written(tmp_path, text)
    message = _message(path)
    assert message.startswith(f"Hyper-parameter file {path!r}")
    assert words in message
    assert "\n" not in message


def test_missing_file(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "missing.yaml")
    assert _message(path) == (
        f"Cannot read the hyper-parameter file {path!r}: No such file or"
        " directory."
    )
    folder = tmp_path / "folder.yml"
    folder.mkdir()
    assert "Is a directory" in _message(str(folder))


def test_neither_a_file_nor_text() -> None:
    assert _message("config.json") == (
        "--hparams: Hyper-parameters as text are name=value,name=value, got"
        " 'config.json'. A file's name ends in .yaml and comes first."
    )
    assert "given twice" in _message("seed=1,seed=2")


PROJECT = """\
# for example
project_name: street
num_gpus: 1
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.25, 0.5]
anchors_scales: '[2 ** 0, 2 ** (1.0 / 2.0)]'
anchors_ratios: '[(1.0, 1.0), (1.4, 0.7)]'
obj_list: ['car', 'truck']
"""


def test_a_project_of_the_port_says_what_it_is_read_as(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(tmp_path, PROJECT)
    given = hparams_file.parse_hparams(f"{path},learning_rate=1e-4")
    read_as = (
        "mean_rgb=[127.5,127.5,127.5],stddev_rgb=[127.5,63.75,127.5],"
        "num_scales=2,aspect_ratios=[[1.0,1.0],[1.4,0.7]],"
        "label_map=[car,truck]"
    )
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: a project file of the PyTorch port, read as {read_as}",
        f"{path}: project_name (street) is not used: the run's folder is"
        " --model_dir.",
        f"{path}: num_gpus (1) is not used: a run uses one GPU, with"
        " --strategy=gpus all that CUDA_VISIBLE_DEVICES shows, and without any"
        " the CPU with --allow_cpu.",
    ]
    rest, names = official.split_label_map(given)
    # What is printed may be given instead.
    text = hparams_file.parse_hparams(f"{read_as},learning_rate=1e-4")
    other, same_names = official.split_label_map(text)
    assert names == same_names == ("car", "truck")
    assert override.override(BASE, rest) == override.override(BASE, other)


def test_a_faulty_project_names_the_file(tmp_path: pathlib.Path) -> None:
    path = _written(tmp_path, PROJECT + "seed: 1\n")
    assert _message(path).startswith(
        f"Hyper-parameter file {path!r}: 'project_name' is a key of the"
    )


def test_text_behind_a_file(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(tmp_path, "seed: 3\nnms: {sigma: 0.3}\n")
    given = hparams_file.parse_hparams(f"{path},mean_rgb=[1,2,3],gamma=2")
    made = override.override(BASE, given)
    assert made == override.override(
        BASE, "seed=3,sigma=0.3,mean_rgb=[1,2,3],gamma=2"
    )
    assert capsys.readouterr().out == ""
    assert hparams_file.parse_hparams(f"{path},") == {
        "seed": 3,
        "nms": {"sigma": 0.3},
    }
    assert _message(f"{path},seed=3") == (
        f"--hparams gives 'seed' in {path!r} and again behind it, as '3'. Give"
        " it once."
    )
    assert "'config.yml'. A file's name ends in .yaml and comes first." in (
        _message("seed=1,config.yml")
    )
    assert _message(f"{path},b.yml").startswith("Cannot read the hyper-")


def test_commas_in_a_files_name(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a,b.yaml"
    path.write_text("seed: 3\n")
    assert hparams_file.parse_hparams(str(path)) == {"seed": 3}
