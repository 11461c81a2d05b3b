"""Runs effdet and writes what the tests compare with.

    python3.11 -m venv ENV
    ENV/bin/pip install --no-deps torch==2.13.0 effdet==0.4.1 timm
    ENV/bin/pip install numpy==1.26.4 omegaconf sympy jinja2 networkx fsspec \
        filelock typing_extensions safetensors huggingface_hub pillow \
        pyyaml
    PYTORCH_JIT=0 PYTHONPATH=. ENV/bin/python \
        scripts/make_effdet_reference.py tests/data

torchvision does not import beside that build of PyTorch, and effdet needs it
for NMS alone, which is not run: a stub stands in its place, which PyTorch's
compiler (PYTORCH_JIT) would stumble over. So for pycocotools. Written are

  effdet_d0.npz, effdet_lite0.npz
    measured/KEY  mean and variance of what the batch norm KEY was given
    logits_L, codes_L, fpn_L  outputs of level L, channels last, thinned: every
                  7th number of levels 3 and 4
  effdet_keys.json.gz
    {network: {key: shape}} of all state dicts, with 90 classes, and those of
    effdet's own efficientdet_d0

Weights and statistics are those of tests/pretrained/torch_weights.py, which the
tests make anew.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.pretrained import torch_weights

SEED = 77
IMAGES = (1, 3, 128, 128)
NUM_CLASSES = 4
THINNED_LEVELS = (3, 4)
EVERY = 7
STUBS = ("torchvision", "pycocotools")
VARIANTS = [f"tf_efficientdet_d{i}" for i in [*range(8), "7x"]] + [
    f"tf_efficientdet_lite{i}" for i in [0, 1, 2, 3, "3x", 4]
]


class _EveryAttribute(type):
    """The class of classes that have every attribute, a string."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Stub(types.ModuleType):
    """A module in which every name is a class with every attribute."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _EveryAttribute(name, (), {})


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stub for what is missing and everything in it."""

    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] not in STUBS:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> _Stub:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Leaves the stub as it is."""


def make_network(name: str, num_classes: int) -> torch.nn.Module:
    """Returns a network with fresh weights, in inference mode."""
    import effdet

    return effdet.create_model(
        name,
        num_classes=num_classes,
        pretrained_backbone=False,
        image_size=IMAGES[2:],
    ).eval()


def set_parameters(network: torch.nn.Module) -> None:
    """Gives every parameter its value by key."""
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            value = torch_weights.value(key, tuple(parameter.shape), SEED)
            parameter.copy_(torch.from_numpy(value))


def _calibrate(
    key: str,
    measured: dict[str, np.ndarray],
    norm: torch.nn.BatchNorm2d,
    inputs: tuple[torch.Tensor],
) -> None:
    """Measures what a batch norm is given and sets its statistics by that."""
    features = inputs[0].double()
    found = [features.mean().item(), features.var(correction=0).item()]
    measured[f"measured/{key}"] = np.array(found, np.float32)
    for name in ("running_mean", "running_var"):
        buffer = getattr(norm, name)
        value = torch_weights.statistic(
            f"{key}.{name}",
            tuple(buffer.shape),
            measured[f"measured/{key}"],
            SEED,
        )
        buffer.copy_(torch.from_numpy(value))


def run(network: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns measured statistics and outputs of one image."""
    arrays: dict[str, np.ndarray] = {}
    images = torch.from_numpy(torch_weights.images(IMAGES, SEED))
    hooks = [
        module.register_forward_pre_hook(
            functools.partial(_calibrate, key, arrays)
        )
        for key, module in network.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    ]
    with torch.no_grad():
        network(images)
        for hook in hooks:
            hook.remove()
        logits, codes = network(images)
        pyramid = network.fpn(network.backbone(images))
    for part, levels in zip(
        ("logits", "codes", "fpn"), (logits, codes, pyramid), strict=True
    ):
        for level, output in enumerate(levels, start=3):
            flat = output.permute(0, 2, 3, 1).numpy().reshape(-1)
            every = EVERY if level in THINNED_LEVELS else 1
            arrays[f"{part}_{level}"] = flat[::every]
    return arrays


def _shapes(network: torch.nn.Module) -> dict[str, Sequence[int]]:
    return {key: list(t.shape) for key, t in network.state_dict().items()}


def main(argv: Sequence[str]) -> None:
    """Writes all files into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    folder = parser.parse_args(argv).folder
    sys.meta_path.insert(0, _StubFinder())
    torch.set_num_threads(2)
    for name in ("d0", "lite0"):
        network = make_network(f"tf_efficientdet_{name}", NUM_CLASSES)
        set_parameters(network)
        path = os.path.join(folder, f"effdet_{name}.npz")
        np.savez_compressed(path, **run(network))
    keys: dict[str, Any] = {}
    with torch.device("meta"):
        for name in [*VARIANTS, "efficientdet_d0"]:
            keys[name] = _shapes(make_network(name, 90))
    content = json.dumps(keys, separators=(",", ":")).encode()
    path = os.path.join(folder, "effdet_keys.json.gz")
    with open(path, "wb") as file:  # no date and name in it: equal bytes
        file.write(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1:])
