"""Judges CPU, memory, shared memory and disk."""

from __future__ import annotations

from efficientdet_aimmo.diagnosis import facts, needs, rows

_GIB = 2**30


def host_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges the machine around the GPU."""
    return [
        _cpu_row(found.host),
        _memory_row(found.host),
        *_shared_memory_rows(found),
        *_disk_rows(found.host),
    ]


def _cpu_row(host: facts.Host) -> rows.Row:
    needed = "x86_64 with AVX"
    name = host.cpu or host.architecture
    shown = f"{name}, {host.cores} cores"
    if host.architecture != "x86_64":
        return rows.bad(
            "CPU",
            f"{shown}, {host.architecture}",
            needed,
            "There is no TensorFlow for CUDA for it: take another machine.",
            is_gpu=False,
        )
    if needs.CPU_FLAG not in host.cpu_flags:
        return rows.bad(
            "CPU",
            f"{shown}, without AVX",
            needed,
            "TensorFlow ends with 'Illegal instruction' on it: take another"
            " machine, or let the virtual one have the host's CPU model.",
            is_gpu=False,
        )
    missing = [f for f in needs.FAST_CPU_FLAGS if f not in host.cpu_flags]
    if missing:
        return rows.bad(
            "CPU",
            f"{shown}, without {' and '.join(missing).upper()}",
            needed,
            "It works; what runs on the CPU, as decoding images, is slower.",
            verdict="warning",
            is_gpu=False,
        )
    return rows.good("CPU", shown, needed, is_gpu=False)


def _memory_row(host: facts.Host) -> rows.Row:
    needed = f"{needs.MEMORY // _GIB} GiB free"
    shown = (
        f"{_gib(host.memory_free)} free (limited by {host.memory_limited_by})"
    )
    if host.memory_free < needs.MEMORY:
        return rows.bad(
            "memory",
            shown,
            needed,
            "Small networks and batches may fit: train with --dry_run says it.",
            verdict="warning",
            is_gpu=False,
        )
    return rows.good("memory", shown, needed, is_gpu=False)


def _shared_memory_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges /dev/shm, over which several GPUs of a machine may talk."""
    if len(found.cuda.gpus) < 2:
        return []
    size = found.host.shared_memory
    needed = "1 GB for several GPUs"
    shown = f"{size / 1e6:.0f} MB"
    if size < needs.SHARED_MEMORY:
        return [
            rows.bad(
                "/dev/shm",
                shown,
                needed,
                "NCCL may fail with 'unhandled system error': start the"
                " container with --shm-size=1g.",
                verdict="warning",
            )
        ]
    return [rows.good("/dev/shm", shown, needed)]


def _disk_rows(host: facts.Host) -> list[rows.Row]:
    if host.disk_free < 0:
        return []
    needed = f"{needs.DISK // _GIB} GiB free, writable"
    what = "disk"
    shown = f"{_gib(host.disk_free)} free in {host.disk_path}"
    if not host.is_disk_writable:
        return [
            rows.bad(
                what,
                f"{shown}, not writable",
                needed,
                "Give another --model_dir, or its folder to this user.",
                is_gpu=False,
            )
        ]
    if host.disk_free < needs.DISK:
        return [
            rows.bad(
                what,
                shown,
                needed,
                "Make room: four checkpoints of D0 alone take 0.2 GiB.",
                verdict=(
                    "broken" if host.disk_free < needs.DISK_LEAST else "warning"
                ),
                is_gpu=False,
            )
        ]
    return [rows.good(what, shown, needed, is_gpu=False)]


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
