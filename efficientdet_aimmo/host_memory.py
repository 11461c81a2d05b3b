"""Memory of the host that a process can still have."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import NamedTuple


class Room(NamedTuple):
    """Memory of the host that is left, bytes, and what says so."""

    free: int
    limited_by: str


def room(root: pathlib.Path) -> Room:
    """Returns what this process can have more before something is killed.

    That is what the system has, or a control group's limit if that is less.
    Files that are only cached count as free.

    Args:
      root: the file system's root; "/" but in tests.
    """
    text = (root / "proc/meminfo").read_text()
    system = Room(kib(text, "MemAvailable"), "the system")
    return min([system, *_group_rooms(root)], key=lambda found: found.free)


def kib(text: str, name: str) -> int:
    """Returns the bytes in a line of 'Name:   123 kB'."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    raise ValueError(f"no line {name}: in {text[:40]!r}")


def _group_rooms(root: pathlib.Path) -> Iterator[Room]:
    """Yields the room in each control group that has a limit."""
    groups = root / "proc/self/cgroup"
    if not groups.exists():  # a system without control groups
        return
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top = root / "sys/fs/cgroup"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        # Limits of the groups above hold too. In a container the path may
        # be the host's: then the container's own group is the top.
        own = pathlib.PurePosixPath(path.lstrip("/"))
        for part in (own, *own.parents):
            found = _group_room(top / part, *names)
            if found is not None:
                yield found


def _group_room(
    folder: pathlib.Path, limit_name: str, usage_name: str, cached_name: str
) -> Room | None:
    """Returns the room in a control group, None without a limit."""
    try:
        limit = (folder / limit_name).read_text().strip()
        usage = int((folder / usage_name).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:  # no such group here, or the root, which has no limit
        return None
    if limit == "max":
        return None
    stat = dict(line.split(" ", 1) for line in lines)
    free = int(limit) - usage + int(stat.get(cached_name, 0))
    return Room(max(0, free), f"{folder / limit_name}")
