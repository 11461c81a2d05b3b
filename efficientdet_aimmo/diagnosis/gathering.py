"""Gathers everything that is asked of a machine."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

from efficientdet_aimmo.diagnosis import asking, driver, facts, installed
from efficientdet_aimmo.diagnosis import host as host_lib

# What decides on GPUs; the rest of the environment is nobody's business.
VARIABLES = (
    "CUDA_CACHE_DISABLE",
    "CUDA_CACHE_PATH",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
)

_TELLING = ("cuda", "CUDA", "GPU", "gpu", "dynamic library", "cuInit")
# What every start of 2.15 writes, on machines that work as well.
_USUAL = ("factory", "TensorRT", "libnvinfer", "Successfully opened")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where to look; a test names a folder that stands for a machine.

    Attributes:
      root: the file system's root.
      folders: where Python looks for packages.
      python: the interpreter.
      environment: the process's environment variables.
      disk_path: where a run will be written; None if not on this machine.
    """

    root: pathlib.Path
    folders: Sequence[str]
    python: str
    environment: Mapping[str, str]
    disk_path: str | None


def gather(
    place: Place, ask: asking.Ask, *, with_tensorflow: bool
) -> facts.Facts:
    """Returns the facts of a machine.

    Args:
      place: where to look.
      ask: runs a program.
      with_tensorflow: also import TensorFlow and TensorBoard, in a process of
        their own; takes seconds.
    """
    library_path = place.environment.get("LD_LIBRARY_PATH")
    cuda, libraries = installed.probe(
        ask,
        place.python,
        installed.library_paths(place.folders, library_path),
    )
    return facts.Facts(
        variables=tuple(
            (name, place.environment[name])
            for name in VARIABLES
            if name in place.environment
        ),
        kernel=driver.kernel(place.root),
        smi=driver.smi(ask),
        cuda=cuda,
        packages=installed.packages(place.folders),
        wanted=installed.wanted(place.folders),
        build=installed.build(place.folders),
        libraries=libraries,
        tensorflow=_tensorflow(place, ask) if with_tensorflow else None,
        host=host_lib.host(place.root, place.environment, place.disk_path),
    )


def _tensorflow(place: Place, ask: asking.Ask) -> facts.TensorFlow:
    script = pathlib.Path(__file__).with_name("tensorflow_probe.py")
    answer = ask([place.python, str(script)])
    log = parse_log(answer.errors)
    if answer.code != 0:
        last = answer.errors.strip().splitlines()[-1:]
        return facts.TensorFlow(
            gpus=(),
            log=log,
            error=" ".join(last) or f"it ended with {answer.code}",
            tensorboard_error="",
        )
    content = json.loads(answer.output.splitlines()[-1])
    return facts.TensorFlow(
        gpus=tuple(content["gpus"]),
        log=log,
        error="",
        tensorboard_error=content["tensorboard_error"],
    )


def parse_log(text: str) -> tuple[str, ...]:
    """Returns what TensorFlow's log says of GPUs, drivers and libraries.

    Without time and place in the source, each line once.
    """
    lines: dict[str, None] = {}
    for line in text.splitlines():
        _, bracket, message = line.partition("] ")
        is_usual = any(words in message for words in _USUAL)
        if bracket and not is_usual and any(w in message for w in _TELLING):
            lines[message.strip()] = None
    return tuple(lines)
