"""PyTorch files. What needs PyTorch itself is skipped where it is missing."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from efficientdet_aimmo.pretrained import torch_file
from tfrecord_tools import command

# The least that the two ports are known by, and one variable of each.
EFFDET = {
    "box_net.conv_rep.0.conv_pw.weight": np.arange(8.0).reshape(4, 2, 1, 1),
    "box_net.conv_rep.0.conv_pw.bias": np.arange(4.0),
}
YET_ANOTHER = {
    "regressor.header.pointwise_conv.conv.weight": np.arange(8.0).reshape(
        4, 2, 1, 1
    ),
}
NAMES = [
    "class_net/class-0-bn-3/gamma",
    "box_net/box-0/pointwise_kernel",
    "box_net/box-0/bias",
    "box_net/box-predict/pointwise_kernel",
]


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def _tensors(torch: Any, state: dict[str, np.ndarray]) -> dict[str, Any]:
    return {k: torch.from_numpy(v.astype(np.float32)) for k, v in state.items()}


def _error(path: pathlib.Path) -> command.UserError:
    with pytest.raises(command.UserError) as caught:
        torch_file.read_source(str(path), NAMES)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    error = _error(tmp_path / "none.pth")
    assert error.exit_code == command.ExitCode.DATA
    assert "No such file or directory" in str(error)


@pytest.mark.parametrize("content", [b"", b"hello world", b"\x89HDF\r\n"])
def test_a_file_of_another_kind(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    error = _error(path)
    assert error.exit_code == command.ExitCode.DATA
    assert f"it begins with {content[:4]!r}" in str(error)


def test_without_pytorch_the_message_says_how_to_get_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "w.pth"
    path.write_bytes(b"PK\x03\x04")
    error = _error(path)
    assert error.exit_code == command.ExitCode.USAGE
    assert "pip install 'efficientdet-aimmo[torch]'" in str(error)


def test_an_unsafe_pytorch_is_not_used(
    torch: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = type(torch.__version__)("2.5.1+cpu")
    monkeypatch.setattr(torch, "__version__", old)
    path = tmp_path / "w.pth"
    path.write_bytes(b"PK\x03\x04")
    error = _error(path)
    assert error.exit_code == command.ExitCode.USAGE
    assert "PyTorch is 2.5.1+cpu" in str(error)


def test_effdet_as_it_is_saved(torch: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(_tensors(torch, EFFDET), path)
    found = torch_file.read_source(str(path), NAMES)
    assert found.form == "effdet state dict (PyTorch)"
    assert list(found.values) == NAMES[1:3]
    kernel = found.values["box_net/box-0/pointwise_kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[0, 0], [[0, 2, 4, 6], [1, 3, 5, 7]])
    np.testing.assert_array_equal(found.values["box_net/box-0/bias"], range(4))
    assert found.unused == ()
    assert found.left_out == {}
    assert not found.is_average


@pytest.mark.parametrize("is_zip", [True, False])
def test_yet_another_as_it_is_saved(
    torch: Any, tmp_path: pathlib.Path, is_zip: bool
) -> None:
    path = tmp_path / "w.pth"
    torch.save(
        _tensors(torch, YET_ANOTHER),
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    found = torch_file.read_source(str(path), NAMES)
    assert found.form == "Yet-Another-EfficientDet-Pytorch state dict"
    assert list(found.values) == NAMES[3:]


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("state_dict", ""),
        ("model", "module."),
        ("model_state_dict", "model."),
        (None, "module.model."),
        (None, "module."),
    ],
)
def test_wrappers_and_prefixes(
    torch: Any, tmp_path: pathlib.Path, wrapper: str | None, prefix: str
) -> None:
    tensors = _tensors(torch, EFFDET)
    content: dict[str, Any] = {prefix + k: v for k, v in tensors.items()}
    if wrapper is not None:
        content = {
            wrapper: content,
            "optimizer": {"state": {0: torch.ones(3)}},
            "epoch": 4,
        }
    path = tmp_path / "w.pt"
    torch.save(content, path)
    found = torch_file.read_source(str(path), NAMES)
    assert list(found.values) == NAMES[1:3]
    assert found.unused == ()
    assert not found.is_average
    expected = {}
    if wrapper is not None:
        expected = {
            "optimizer": "optimizer state",
            "epoch": "state of the training run",
        }
    assert found.left_out == expected


def test_the_moving_average_is_preferred(
    torch: Any, tmp_path: pathlib.Path
) -> None:
    tensors = _tensors(torch, EFFDET)
    content = {
        "state_dict": tensors,
        "state_dict_ema": {k: v + 1 for k, v in tensors.items()},
        "args": argparse.Namespace(model="tf_efficientdet_d0"),
    }
    path = tmp_path / "w.ckpt"
    torch.save(content, path)
    found = torch_file.read_source(str(path), NAMES)
    assert found.is_average
    bias = found.values["box_net/box-0/bias"]
    np.testing.assert_array_equal(bias, [1.0, 2.0, 3.0, 4.0])
    assert found.left_out == {
        "state_dict": "another state dict of the file",
        "args": "state of the training run",
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_types_become_float32(
    torch: Any, tmp_path: pathlib.Path, dtype: str
) -> None:
    path = tmp_path / "w.pth"
    kind = getattr(torch, dtype)
    tensors = {k: v.to(kind) for k, v in _tensors(torch, EFFDET).items()}
    torch.save({**tensors, "version": "1"}, path)
    file = torch_file.read(str(path))
    assert file.left_out == {"version": "no tensor"}
    for key, array in file.state.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, EFFDET[key])


class _Object:
    """Stands for what cannot be read without running code."""


def test_pickled_objects_are_refused_with_the_way_out(
    torch: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "w.pth"
    content = {"state_dict": _tensors(torch, EFFDET), "object": _Object()}
    torch.save(content, path)
    error = _error(path)
    assert error.exit_code == command.ExitCode.DATA
    assert "_Object" in str(error)
    assert "would run code from the file" in str(error)
    # The lines shown do what they say.
    lines = [x.strip() for x in str(error).splitlines() if x.startswith("  ")]
    assert len(lines) == 3
    assert lines[1].endswith("weights_only=False)")
    saved = tmp_path / "weights.pth"
    loaded = torch.load(path, map_location="cpu", weights_only=False)
    torch.save(loaded["state_dict"], saved)
    assert torch_file.read_source(str(saved), NAMES).values


def test_a_damaged_file(torch: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(_tensors(torch, EFFDET), path)
    path.write_bytes(path.read_bytes()[:-100])
    error = _error(path)
    assert error.exit_code == command.ExitCode.DATA
    assert "is damaged" in str(error)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ([1, 2], "no state dict but list"),
        ({"epoch": 3}, r"a dict with the keys ['epoch']"),
        ({"state_dict": {}}, r"a dict with the keys ['state_dict']"),
    ],
)
def test_no_state_dict(
    torch: Any, tmp_path: pathlib.Path, content: object, shown: str
) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    error = _error(path)
    assert error.exit_code == command.ExitCode.DATA
    assert shown in str(error)


def test_another_network(torch: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({f"layer{i}.weight": torch.ones(2) for i in range(9)}, path)
    error = _error(path)
    assert error.exit_code == command.ExitCode.DATA
    assert "'layer0.weight', 'layer1.weight', 'layer2.weight'. " in str(error)
    assert "effdet (tf_efficientdet_d0" in str(error)
    assert "Yet-Another-EfficientDet-Pytorch (D0 to D7x)" in str(error)


def test_two_networks_in_one_file(torch: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pth"
    tensors = _tensors(torch, EFFDET)
    torch.save(
        {f"{p}.{k}": v for p in ("model", "ema") for k, v in tensors.items()},
        path,
    )
    assert "begin with 'model.', 'ema.'" in str(_error(path))


def test_quantised_weights_are_refused(
    torch: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "w.pth"
    tensors = _tensors(torch, EFFDET)
    key = next(iter(tensors))
    tensors[key] = tensors[key].to_sparse()
    torch.save(tensors, path)
    error = _error(path)
    assert repr(key) in str(error)
    assert "quantised or sparse" in str(error)


def test_written_state_dict_is_read_back_to_the_bit(
    torch: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "out.pth"
    rng = np.random.default_rng(0)
    state = {
        "a.weight": rng.normal(size=(3, 2, 1, 1)).astype(np.float32),
        "b.edge_weights": np.array([0.5, -1.0], np.float32),
        # Not in one piece, as after a change of axes.
        "c.weight": rng.normal(size=(4, 5)).astype(np.float32).T,
    }
    torch_file.write(str(path), state)
    content = torch.load(path, weights_only=True)
    assert {k: tuple(v.shape) for k, v in content.items()} == {
        k: v.shape for k, v in state.items()
    }
    found = torch_file.read(str(path)).state
    assert found.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)
