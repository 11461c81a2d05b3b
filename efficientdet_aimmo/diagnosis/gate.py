"""Stops what would compute on the CPU where nobody asked for that."""

from __future__ import annotations

import ctypes
import pathlib
import sys
from collections.abc import Mapping, Sequence

import tensorflow as tf

from efficientdet_aimmo.diagnosis import (
    asking,
    driver,
    gathering,
    judging,
    judging_driver,
    judging_gpu,
    needs,
    rows,
    table,
)
from tfrecord_tools import command

# As cuDriverGetVersion says it: 12000 for 12.0.
_CUDA_OF_DRIVER = 1000 * needs.numbers(needs.CUDA_OF_DRIVER)[0]
_DOCTOR = "python -m efficientdet_aimmo.doctor shows the whole machine."


def require_gpu(*, allow_cpu: bool, environment: Mapping[str, str]) -> None:
    """Raises UserError if TensorFlow can use no GPU, unless that is allowed.

    Call it after what is cheap to check in the user's flags and files, and
    before anything is built. Where TensorFlow has a GPU it asks nothing else.
    Where it has none, what it says is the doctor's judgement.

    Args:
      allow_cpu: whether the user gave --allow_cpu. A GPU that the system has
        and TensorFlow cannot use is named in a warning then.
      environment: the process's environment variables.

    Raises:
      UserError: DEVICE, with what does not fit and what to do.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and _has_code(gpus) and _knows_cuda():
        return
    check(
        gathering.Place(
            root=pathlib.Path("/"),
            folders=sys.path,
            python=sys.executable,
            environment=environment,
            disk_path=None,
        ),
        asking.ask,
        allow_cpu=allow_cpu,
        lists_gpu=bool(gpus),
    )


def check(
    place: gathering.Place,
    ask: asking.Ask,
    *,
    allow_cpu: bool,
    lists_gpu: bool,
) -> None:
    """Does it for a machine whose GPUs TensorFlow cannot use.

    Args:
      place: where to look.
      ask: runs a program.
      allow_cpu: whether computing on the CPU is allowed.
      lists_gpu: whether TensorFlow lists one, and would fail on it.

    Raises:
      UserError: DEVICE; it is not allowed, or TensorFlow would take the GPU
        that it cannot use.
    """
    is_shown = driver.is_shown(driver.kernel(place.root)) or lists_gpu
    if allow_cpu and not is_shown:
        return
    found = gathering.gather(place, ask, with_tensorflow=False)
    judgement = judging.judge(found)
    broken = [row for row in judgement.rows if _breaks_gpu(row)]
    if allow_cpu and not lists_gpu:
        names = rows.listed(judging_driver.cards(found)) or "the GPU"
        print(
            f"warning: {names} is not used, TensorFlow can use no GPU; this"
            f" computes on the CPU.\n{_reasons(broken)}",
            flush=True,
        )
        return
    hint = (
        "Hide it with CUDA_VISIBLE_DEVICES=-1 to compute on the CPU."
        if allow_cpu
        else "To compute on the CPU, give --allow_cpu."
    )
    if not is_shown:
        # What else is missing is of no use without a card.
        broken = broken[:1]
    raise command.UserError(
        command.ExitCode.DEVICE,
        "This machine has no GPU that TensorFlow can use.\n"
        f"{_reasons(broken)}\n{hint} {_DOCTOR}",
    )


def _breaks_gpu(row: rows.Row) -> bool:
    return row.verdict == "broken" and (row.is_gpu or row.what == "TensorFlow")


def _reasons(broken: list[rows.Row]) -> str:
    return table.sentences(broken) or (
        "  All that can be asked of the driver and the libraries fits; what"
        " TensorFlow itself says is in the doctor's last rows."
    )


def _has_code(gpus: Sequence[tf.config.PhysicalDevice]) -> bool:
    """Returns whether TensorFlow has code for one of the GPUs that it lists.

    It lists GPUs of any age (measured with a libcuda that said 3.5), and ends
    at the first step.
    """
    held = tf.sysconfig.get_build_info().get("cuda_compute_capabilities")
    if not held:  # another build, whose limits nobody knows
        return True
    details = tf.config.experimental.get_device_details
    newest = max(details(g).get("compute_capability", (0, 0)) for g in gpus)
    return newest >= judging_gpu.least_capability(tuple(held))


def _knows_cuda() -> bool:
    """Returns whether the driver knows the CUDA that TensorFlow was built for.

    TensorFlow lists the GPUs of a driver that is too old (measured with a
    libcuda that said 11.4), and ends at the first step.
    """
    try:
        libcuda = ctypes.CDLL("libcuda.so.1")  # TensorFlow has opened it
    except OSError:  # a build for other GPUs
        return True
    version = ctypes.c_int()
    libcuda.cuDriverGetVersion(ctypes.byref(version))
    return version.value >= _CUDA_OF_DRIVER
