"""Files of PyTorch weights: .pth, .pt and .ckpt.

They are read as plain tensors alone: nothing in a file is run. PyTorch is
imported when a file is read, and only then.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle  # its exception alone: nothing is unpickled here
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficientdet_aimmo.pretrained import effdet, source, yet_another
from tfrecord_tools import command

# How torch.save begins a file: as a zip archive, or before 1.6 as a pickle.
_BEGINNINGS = (b"PK\x03\x04", b"\x80")
_AVERAGE = "state_dict_ema"
_WRAPPERS = (_AVERAGE, "state_dict", "model_state_dict", "model")
# Before it, reading tensors alone could run code all the same (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_RESAVE = """\
    import torch
    content = torch.load({path!r}, map_location="cpu", weights_only=False)
    torch.save(content["state_dict"], "weights.pth")"""


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """The state dict of a file.

    Attributes:
      state: arrays by key; floating ones are float32.
      left_out: what else the file holds, and why it is left out.
      is_average: the state dict is the moving average.
    """

    state: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]
    is_average: bool


def _fault(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


def _import_torch(path: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{path} is a PyTorch file, and PyTorch is not installed ({error})."
            " Install it: pip install 'efficientdet-aimmo[torch]'.",
        ) from error
    if torch.__version__ < _OLDEST_TORCH:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{path} is a PyTorch file, and PyTorch is {torch.__version__},"
            " which may run code out of such a file. Expected 2.6 or newer:"
            " pip install 'efficientdet-aimmo[torch]'.",
        )
    return torch


def _check_beginning(path: str) -> None:
    try:
        with open(path, "rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise _fault(
            f"{path} cannot be read: {error.strerror}. Expected a file of"
            " PyTorch weights (.pth, .pt, .ckpt)."
        ) from error
    if not beginning.startswith(_BEGINNINGS):
        raise _fault(
            f"{path} is no file that torch.save writes: it begins with"
            f" {beginning!r}. Give a .pth, .pt or .ckpt file of PyTorch."
        )


def _load(path: str, torch: Any) -> Any:
    """Returns what torch.save wrote: containers, numbers and tensors."""
    try:
        # The training script of effdet saves its arguments in a Namespace,
        # which holds values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        objects = sorted(set(_GLOBAL.findall(str(error))))
        raise _fault(
            f"{path} holds Python objects beside tensors"
            f" ({', '.join(objects) or 'of unknown kind'}), and reading them"
            " would run code from the file, so it is not read; if you trust"
            " its origin, save the plain state dict with PyTorch and give that"
            " file (a whole saved model has content.state_dict() instead of"
            f' content["state_dict"]):\n{_RESAVE.format(path=path)}'
        ) from error
    except (RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        reason = str(error).splitlines()[:1] or ["it ends early"]
        raise _fault(
            f"{path} is damaged ({type(error).__name__}: {reason[0]}). Expected"
            " a whole file that torch.save wrote; copy or download it again."
        ) from error


def _is_state_dict(value: Any, torch: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(tensor, torch.Tensor) for tensor in value.values()
    )


def _unwrap(content: Any, torch: Any) -> tuple[Any, str | None]:
    """Returns the state dict and the name that it is kept under, if any."""
    if isinstance(content, Mapping):
        for name in _WRAPPERS:
            if _is_state_dict(content.get(name), torch):
                return content[name], name
    return content, None


def _to_array(path: str, key: str, tensor: Any, torch: Any) -> np.ndarray:
    if tensor.is_quantized or tensor.layout != torch.strided:
        raise _fault(
            f"{path}: {key!r} is a quantised or sparse tensor ({tensor.dtype},"
            f" {tensor.layout}). Expected plain floating-point weights."
        )
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.detach().numpy()


def read(path: str) -> TorchFile:
    """Returns the state dict of a file, its moving average where it has one.

    Wrappers (state_dict_ema, state_dict, model_state_dict, model) and the
    prefix of data parallelism are taken off.

    Raises:
      UserError: PyTorch is not installed, or the file is damaged, of another
        kind, or holds more than plain tensors.
    """
    _check_beginning(path)
    torch = _import_torch(path)
    content = _load(path, torch)
    found, wrapper = _unwrap(content, torch)
    if not _is_state_dict(found, torch):
        shown = type(content).__name__
        if isinstance(content, Mapping):
            shown = f"a dict with the keys {list(content)[:5]}"
        raise _fault(
            f"{path} holds no state dict but {shown}. Expected what"
            " torch.save(model.state_dict(), ...) writes, as it is or under"
            f" one of the keys {', '.join(_WRAPPERS)}."
        )
    left_out = {}
    if wrapper is not None:
        left_out = {
            str(key): _reason(key, value, torch)
            for key, value in content.items()
            if key != wrapper
        }
    state = {}
    for key, tensor in found.items():
        if isinstance(tensor, torch.Tensor):
            state[str(key)] = _to_array(path, str(key), tensor, torch)
        else:
            left_out[str(key)] = "no tensor"
    if all(key.startswith("module.") for key in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return TorchFile(state, left_out, wrapper == _AVERAGE)


def write(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict, tensor by tensor, as torch.save does.

    Raises:
      UserError: PyTorch is not installed.
      OSError: the file cannot be written.
    """
    torch = _import_torch(path)
    tensors = {
        k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()
    }
    torch.save(tensors, path)


def _reason(key: Any, value: Any, torch: Any) -> str:
    """Returns why an entry beside the state dict is left out."""
    if key in _WRAPPERS and _is_state_dict(value, torch):
        return "another state dict of the file"
    if "optim" in str(key):
        return "optimizer state"
    return "state of the training run"


def _prefix(path: str, keys: Sequence[str], mark: str) -> str | None:
    """Returns what stands before the keys of a network; None without one."""
    found = [
        key.removesuffix(mark)
        for key in keys
        if key == mark or key.endswith(f".{mark}")
    ]
    if len(found) > 1:
        raise _fault(
            f"{path} holds several networks, with keys that begin with"
            f" {', '.join(map(repr, found))}. Expected one: save the one that"
            " you want alone."
        )
    return found[0] if found else None


def read_source(path: str, names: Sequence[str]) -> source.Source:
    """Returns the detector's variables out of a PyTorch file.

    Args:
      path: of effdet's or Yet-Another-EfficientDet-Pytorch's weights.
      names: the detector's variables, official, without ':0'.

    Raises:
      UserError: as `read`, or the weights are of another kind of network.
    """
    file = read(path)
    for mark, to_official in (
        (effdet.MARK, effdet.to_official),
        (yet_another.MARK, yet_another.to_official),
    ):
        prefix = _prefix(path, list(file.state), mark)
        if prefix is not None:
            state = {k.removeprefix(prefix): v for k, v in file.state.items()}
            found = to_official(state, names)
            return dataclasses.replace(
                found,
                left_out={**file.left_out, **found.left_out},
                is_average=file.is_average,
            )
    first = ", ".join(map(repr, list(file.state)[:3]))
    raise _fault(
        f"{path} is of no network that is understood: its keys begin with"
        f" {first}. Expected the weights of effdet (tf_efficientdet_d0 to d7x,"
        " tf_efficientdet_lite0 to lite4) or of"
        " Yet-Another-EfficientDet-Pytorch (D0 to D7x)."
    )
