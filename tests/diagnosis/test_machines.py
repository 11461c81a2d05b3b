"""What is said of each recorded machine."""

from __future__ import annotations

import dataclasses

import pytest

from efficientdet_aimmo import doctor
from efficientdet_aimmo.diagnosis import facts, judging, rows
from tests.diagnosis import recorded
from tfrecord_tools import command

VIEW = "TensorFlow's view"
# The rows that are broken, in order, and a part of what to do about the first.
BROKEN: dict[str, tuple[tuple[str, ...], str]] = {
    "a100": ((), ""),
    "container": ((), ""),
    "container_without_gpus": (
        ("container (docker)", VIEW),
        "docker run --gpus all",
    ),
    "driver_too_old": (("driver", "libcuda"), "branch 535 or newer"),
    "driver_upgraded_without_restart": (
        ("nvidia-smi", "libcuda", VIEW),
        "restart the machine",
    ),
    "driver_without_device": (
        ("GPU", "nvidia-smi", "libcuda", VIEW),
        "This VM has no GPU attached",
    ),
    "hidden": (("CUDA_VISIBLE_DEVICES", VIEW), "unset CUDA_VISIBLE_DEVICES"),
    "k80": (("driver", "libcuda", "compute capability"), "No newer one drives"),
    "mig_with_instances": ((), ""),
    "mig_without_instance": (("libcuda", "MIG", VIEW), "See MIG below."),
    "missing_cudnn": (
        ("CUDA wheels", "libcudnn.so.8", VIEW),
        "pip install 'tensorflow[and-cuda]==2.15.1'",
    ),
    "module_not_loaded": (
        ("driver", "nvidia-smi", VIEW),
        "sudo modprobe nvidia",
    ),
    "no_driver": (("driver", VIEW), "cuda_installer.pyz install_driver"),
    "no_gpu": (("GPU", VIEW), "give --allow_cpu"),
    "t4": ((), ""),
    "two_tensorflows": (
        ("TensorFlow", VIEW),
        "pip uninstall -y tensorflow tensorflow-cpu, then",
    ),
    "v100": ((), ""),
    "wrong_cuda": (
        (
            "CUDA wheels",
            "libcudart.so.12",
            "libcublas.so.12",
            "libcublasLt.so.12",
            "libcufft.so.11",
            "libcusolver.so.11",
            "libcusparse.so.12",
            "cuDNN",
            VIEW,
        ),
        "pip uninstall -y nvidia-cublas-cu11 nvidia-cuda-runtime-cu11",
    ),
}
WARNED = {"mig_with_instances": ("MIG",)}


def _rows(name: str) -> dict[str, rows.Row]:
    judgement = judging.judge(recorded.machine(name))
    return {row.what: row for row in judgement.rows}


def test_every_machine_is_judged_here() -> None:
    assert sorted(BROKEN) == recorded.NAMES


@pytest.mark.parametrize("name", recorded.NAMES)
def test_what_is_broken(name: str) -> None:
    judgement = judging.judge(recorded.machine(name))
    names, todo = BROKEN[name]
    broken = judgement.broken(allow_cpu=False)
    assert tuple(row.what for row in broken) == names
    assert all(row.what_to_do and row.found and row.needed for row in broken)
    assert names == () or todo in broken[0].what_to_do
    warned = tuple(row.what for row in judgement.warnings())
    assert warned == WARNED.get(name, ())
    ok = [row for row in judgement.rows if row.verdict == "ok"]
    assert all(row.what_to_do == "" for row in ok)


@pytest.mark.parametrize("name", recorded.NAMES)
@pytest.mark.parametrize("allow_cpu", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_the_commands_answer(
    name: str,
    allow_cpu: bool,
    quick: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = recorded.machine(name)
    # What a GPU is not needed for is broken on one of them only.
    fails = bool(BROKEN[name][0]) and not (
        allow_cpu and name != "two_tensorflows"
    )
    arguments = {"allow_cpu": allow_cpu, "quick": quick, "as_json": False}
    if not fails:
        doctor.report(found, **arguments, width=80)
        out = capsys.readouterr().out
        if not BROKEN[name][0]:
            assert "Training works on the GPU: " in out
        else:
            assert "No usable GPU; training on the CPU works" in out
        assert not quick or out.count("\n") == 1
        return
    with pytest.raises(command.UserError) as caught:
        doctor.report(found, **arguments, width=80)
    assert caught.value.exit_code == command.ExitCode.DEVICE
    assert BROKEN[name][0][0] in str(caught.value)
    out = capsys.readouterr().out
    assert (out == "") == quick
    assert max(map(len, out.splitlines()), default=0) <= 80


def test_compute_capability_against_the_build() -> None:
    def row(name: str) -> rows.Row:
        return _rows(name)["compute capability"]

    assert row("v100").found == "7.0 (Tesla V100-SXM2-16GB)"
    assert row("v100").needed == "5.0 or newer (PTX from 8.0)"
    assert row("a100").found == (
        "8.0 (NVIDIA A100-SXM4-40GB): from PTX, compiled at the first start,"
        " kept in ~/.nv/ComputeCache"
    )
    assert row("k80").found == "3.7 (Tesla K80)"
    assert "no code for it" in row("k80").what_to_do


def test_versions_are_named() -> None:
    old = _rows("driver_too_old")
    assert (old["driver"].found, old["driver"].needed) == (
        "470.223.02",
        "525.60.13 or newer",
    )
    assert old["libcuda"].found == "CUDA 11.4, lists 1 GPU"
    assert _rows("v100")["CUDA wheels"].needed == "12: CUDA 12.2, cuDNN 8.9"
    cudnn = _rows("wrong_cuda")["cuDNN"]
    assert cudnn.found.startswith("8.6.0 in /opt/")
    assert cudnn.needed == "8.9 or a newer 8.x"
    missing = _rows("missing_cudnn")
    assert missing["CUDA wheels"].found == "11 of 12, without nvidia-cudnn-cu12"
    assert missing["libcudnn.so.8"].found.startswith(
        "libcudnn.so.8: cannot open shared object file"
    )
    assert "It says: libcudnn.so.8 not found; Cannot dlopen" in (
        missing[VIEW].what_to_do
    )


def test_what_cannot_be_judged_is_said() -> None:
    def left(name: str) -> tuple[str, ...]:
        return judging.judge(recorded.machine(name)).not_judged

    last = ("CUDA_VISIBLE_DEVICES", "MIG", "compute capability")
    assert left("v100") == ()
    assert left("no_gpu") == ("driver", "nvidia-smi", "libcuda", *last)
    assert left("no_driver") == ("nvidia-smi", "libcuda", *last)
    assert left("container_without_gpus") == ("nvidia-smi", "libcuda", *last)
    assert left("driver_without_device") == (last[0], last[2])
    assert left("two_tensorflows") == ("compute capability",)


def test_facts_survive_json() -> None:
    for name in recorded.NAMES:
        content = recorded.content(name)
        again = facts.to_json(facts.from_json(content))
        assert facts.from_json(again) == facts.from_json(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": {}}, "facts.kernel: expected exactly"),
        ({"more": 1}, "facts: expected exactly"),
        ({"variables": [["A"]]}, "facts.variables: expected 2 values"),
        ({"variables": "A"}, "facts.variables: expected a list"),
        (
            {"packages": [{"name": "x", "version": 2}]},
            "facts.packages.version: expected str, got 2",
        ),
    ],
)
def test_other_json_is_refused(change: object, message: str) -> None:
    content = recorded.content("v100")
    content.update(change)
    with pytest.raises(ValueError, match=message):
        facts.from_json(content)


def _host(name: str, **changes: object) -> rows.Judgement:
    found = recorded.machine(name)
    host = dataclasses.replace(found.host, **changes)  # type: ignore[arg-type]
    return judging.judge(dataclasses.replace(found, host=host))


@pytest.mark.parametrize(
    ("changes", "what", "verdict", "found"),
    [
        ({"cpu_flags": ()}, "CPU", "broken", "without AVX"),
        ({"cpu_flags": ("avx",)}, "CPU", "warning", "without AVX2 AND FMA"),
        ({"architecture": "aarch64"}, "CPU", "broken", "aarch64"),
        ({"memory_free": 2**31}, "memory", "warning", "2.0 GiB free"),
        ({"disk_free": 2**30}, "disk", "warning", "1.0 GiB free in model"),
        ({"disk_free": 2**20}, "disk", "broken", "0.0 GiB free in model"),
        ({"is_disk_writable": False}, "disk", "broken", "not writable"),
    ],
)
def test_the_rest_of_the_machine(
    changes: dict[str, object], what: str, verdict: str, found: str
) -> None:
    row = next(r for r in _host("v100", **changes).rows if r.what == what)
    assert row.verdict == verdict
    assert found in row.found
    # The CPU needs it as well.
    assert not row.is_gpu


def test_a_disk_that_is_not_here_is_no_row() -> None:
    judgement = _host("v100", disk_free=-1, disk_path="")
    assert all(row.what != "disk" for row in judgement.rows)
