"""docs/doctor.md: what the doctor says of each recorded machine.

python -m scripts.make_doctor_document > docs/doctor.md
"""

from __future__ import annotations

import json
import pathlib

from efficientdet_aimmo import doctor
from efficientdet_aimmo.diagnosis import facts, judging, table

MACHINES = (
    pathlib.Path(__file__).resolve().parent.parent
    / "tests"
    / "diagnosis"
    / "machines"
)

_TOP = """\
# The doctor

Written by `python -m scripts.make_doctor_document > docs/doctor.md`; a test
holds it against the code.

Can this machine train on its GPU, and if not, what does not fit?

    python -m efficientdet_aimmo.doctor

Every part is asked by itself, so that one that is broken does not hide the
others: the PCI bus, the kernel module (`/proc/driver/nvidia`), `nvidia-smi`,
the driver's library `libcuda.so.1` (in a process of its own), the installed
packages and NVIDIA's wheels, each library that TensorFlow opens, and at last
TensorFlow, whose log says which one it misses. What cannot be judged because a
row before it is broken is named.

| flag | meaning |
| --- | --- |
| `--quick` | without TensorFlow and TensorBoard, which take seconds to \
import; prints one line if all is well, or what is broken. For the start of a \
container. |
| `--json` | facts and verdicts as JSON on standard output; `usable` is the \
verdict |
| `--model_dir` | where the disk is looked at, the current folder otherwise |
| `--allow_cpu` | a GPU is not needed: what concerns it is shown and does not \
count |

It exits with 0 if training works, warnings or not, and with 69 if something is
broken.

## Training asks the same

`train`, `evaluate`, `predict` and `bench` compute on a GPU. Where TensorFlow
can use none they stop with 69, after flags and data files have been looked at
and before anything is built, and say what the doctor says. `--allow_cpu` lets
them compute on the CPU. Beside a GPU that is there and cannot be used a \
warning
names it. That a GPU is hidden (`CUDA_VISIBLE_DEVICES=-1`) is no permission, \
and
`virtual_devices` is none.

A GPU that TensorFlow lists is not always one that it can use: it lists GPUs
that it has no code for, and those of a driver that is too old for its CUDA.
Both are looked at.

## What is needed, and where it is known from

| what | needed | source |
| --- | --- | --- |
| driver | 525.60.13 | NVIDIA's CUDA 12 release notes, minimum driver for \
minor version compatibility of CUDA 12.x on Linux |
| the same, for compute capability 8.0 and newer | 530.30.02, otherwise a \
warning | part of the code is PTX ISA 8.1, which came with CUDA 12.1; that \
compatibility is of machine code alone |
| CUDA, cuDNN | 12.2 and 8.9 of TensorFlow 2.15.1 | what the installed \
TensorFlow's own metadata pins for `tensorflow[and-cuda]` |
| libraries | the seven below | measured with a libcuda that names a GPU: \
without any one of them TensorFlow lists none |
| compute capability | 5.0 | `build_info` of the installed TensorFlow: sm_50, \
sm_60, sm_70, sm_75, compute_80 |

TensorFlow 2.15.1 opens `libcudart.so.12`, `libcublas.so.12`,
`libcublasLt.so.12`, `libcudnn.so.8`, `libcufft.so.11`, `libcusolver.so.11` and
`libcusparse.so.12`; the last two open `libnvJitLink.so.12`. Without
`libcudart.so.12` its log speaks of missing drivers. Without cuRAND, NCCL and
CUPTI it lists GPUs. They are looked for in `LD_LIBRARY_PATH`, in the wheels
beside TensorFlow, in the system, in this order.

What its `libtensorflow_cc.so.2` holds, counted in the fatbinaries: 1396 with
machine code for 5.0, 6.0, 7.0 and 7.5, of which 247 have it for 8.0 too, and
1757 with PTX for 8.0 (1149 of PTX ISA 7.1, 608 of 8.1). On a GPU of compute
capability 8.0 or newer (A100, L4, H100) most code is therefore compiled when \
it
is first used. The result is kept where `CUDA_CACHE_PATH` says, in a container
best on a volume.

No GPU was at hand when this was written: what NVIDIA's programs and drivers
answer is from their manuals and from reports. TensorFlow's side, which library
it misses and what it writes then, was measured.

## Recorded machines

The machines are in `tests/diagnosis/machines`, written by hand.
"""

_TITLES = {
    "v100": "V100 on Compute Engine, all well",
    "t4": "T4 on Compute Engine, all well",
    "a100": "A100, all well, code from PTX",
    "container": "T4 in a container that got it",
    "no_gpu": "No GPU",
    "no_driver": "A GPU and no driver: a fresh VM",
    "module_not_loaded": "Driver installed, kernel module not loaded",
    "driver_too_old": "Driver too old",
    "driver_upgraded_without_restart": "Driver upgraded without a restart",
    "driver_without_device": "Driver without a device",
    "k80": "A GPU that is too old",
    "hidden": "GPU hidden by CUDA_VISIBLE_DEVICES",
    "mig_without_instance": "MIG on, without an instance",
    "mig_with_instances": "MIG on, with instances",
    "container_without_gpus": "Container started without --gpus",
    "missing_cudnn": "cuDNN missing",
    "wrong_cuda": "CUDA 11 instead of 12",
    "two_tensorflows": "Two TensorFlows installed",
}


def document() -> str:
    """Returns docs/doctor.md."""
    parts = [_TOP]
    for name, title in _TITLES.items():
        content = json.loads((MACHINES / f"{name}.json").read_text())
        judgement = judging.judge(facts.from_json(content))
        verdict = doctor.summary(judgement, allow_cpu=False)
        code = 69 if judgement.broken(allow_cpu=False) else 0
        parts.append(
            f"### {title}\n\n{table.markdown(judgement)}\n\n"
            f"Exit code {code}: {verdict}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
