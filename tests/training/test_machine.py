"""Memory as the system's files say it, in folders that stand for a system."""

from __future__ import annotations

import pathlib

from efficientdet_aimmo import host_memory
from efficientdet_aimmo.training import machine

MIB = 2**20


def _write(root: pathlib.Path, files: dict[str, str]) -> machine.Machine:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return machine.Machine(str(root))


def _system(groups: str) -> dict[str, str]:
    return {
        "proc/self/status": "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n",
        "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   8388608 kB\n",
        "proc/self/cgroup": groups,
    }


def test_process_and_system(tmp_path: pathlib.Path) -> None:
    found = _write(tmp_path, _system("0::/\n"))
    assert (found.resident(), found.peak()) == (MIB, 2 * MIB)
    assert found.room() == host_memory.Room(8192 * MIB, "the system")


def test_limit_of_a_group_above(tmp_path: pathlib.Path) -> None:
    top = "sys/fs/cgroup/jobs"
    found = _write(
        tmp_path,
        {
            **_system("0::/jobs/one\n"),
            f"{top}/memory.max": f"{100 * MIB}\n",
            f"{top}/memory.current": f"{90 * MIB}\n",
            f"{top}/memory.stat": f"anon 1\ninactive_file {30 * MIB}\n",
            f"{top}/one/memory.max": "max\n",
            f"{top}/one/memory.current": "5\n",
            f"{top}/one/memory.stat": "inactive_file 5\n",
        },
    )
    limit = f"{tmp_path}/{top}/memory.max"
    assert found.room() == host_memory.Room(40 * MIB, limit)


def test_limit_of_the_first_version_in_a_container(
    tmp_path: pathlib.Path,
) -> None:
    """The path is the host's: the container sees its own group at the top."""
    top = "sys/fs/cgroup/memory"
    found = _write(
        tmp_path,
        {
            **_system("4:memory:/docker/abc\n3:cpuset:/\n0::/\n"),
            f"{top}/memory.limit_in_bytes": f"{100 * MIB}\n",
            f"{top}/memory.usage_in_bytes": f"{200 * MIB}\n",
            f"{top}/memory.stat": f"total_inactive_file {10 * MIB}\n",
        },
    )
    limit = f"{tmp_path}/{top}/memory.limit_in_bytes"
    assert found.room() == host_memory.Room(0, limit)  # never less than nothing


def test_this_machine() -> None:
    real = machine.Machine("/")
    assert 0 < real.resident() <= real.peak()
    assert real.room().free > 0
    assert real.gpus() == []
    assert real.clock() <= real.clock()
