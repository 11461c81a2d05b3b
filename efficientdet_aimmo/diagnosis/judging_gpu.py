"""Judges which GPUs are visible, whether they are whole, what they run."""

from __future__ import annotations

from efficientdet_aimmo.diagnosis import facts, judging_driver, needs, rows

_HIDING = "CUDA_VISIBLE_DEVICES"


def visible_row(found: facts.Facts) -> rows.Row:
    """Judges CUDA_VISIBLE_DEVICES."""
    needed = "not set, or right numbers"
    given = found.variable(_HIDING)
    if given is None:
        return rows.good(_HIDING, "not set: all GPUs", needed)
    count = len(found.cuda.gpus or found.smi.gpus)
    seen = num_visible(given, count)
    shown = f"'{given}': {seen} of {count} GPU"
    if seen == 0:
        return rows.bad(
            _HIDING,
            shown,
            needed,
            f"It hides every GPU: unset {_HIDING}, or give the numbers of"
            " nvidia-smi -L. To compute on the CPU, give --allow_cpu.",
        )
    if seen < len(given.split(",")):
        return rows.bad(
            _HIDING,
            shown,
            needed,
            "CUDA stops reading at the first number that there is not.",
            verdict="warning",
        )
    return rows.good(_HIDING, shown, needed)


def num_visible(given: str, count: int) -> int:
    """Returns how many GPUs CUDA_VISIBLE_DEVICES leaves.

    CUDA's programming guide, CUDA Environment Variables: what comes after the
    first invalid entry is not visible either.

    Args:
      given: its value.
      count: GPUs that there are. Names (GPU-..., MIG-...) are taken as right.
    """
    seen = 0
    for entry in given.split(","):
        name = entry.strip()
        is_number = name.isdigit() and int(name) < count
        if not is_number and not name.startswith(("GPU-", "MIG-")):
            break
        seen += 1
    return seen


def mig_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges GPUs that are cut into parts, nothing where none can be."""
    modes = [gpu.mig for gpu in found.smi.gpus if gpu.mig]
    if not modes:
        return []
    needed = "off, or on with instances"
    if "Enabled" not in modes:
        return [rows.good("MIG", "off", needed)]
    if not found.smi.mig_instances:
        return [
            rows.bad(
                "MIG",
                "on, without an instance",
                needed,
                "CUDA sees no GPU then. Turn it off: sudo nvidia-smi -mig 0; or"
                " make an instance of the whole GPU: sudo nvidia-smi mig -cgi 0"
                " -C.",
            )
        ]
    return [
        rows.bad(
            "MIG",
            f"on, {found.smi.mig_instances} instances",
            needed,
            "A process uses one instance, with its part of the memory: name it"
            f" with {_HIDING}=MIG-... (nvidia-smi -L). For the whole GPU: sudo"
            " nvidia-smi -mig 0.",
            verdict="warning",
        )
    ]


def capability_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges the GPUs against what the TensorFlow that is installed holds."""
    if found.build is None or not found.build.is_cuda:
        return []
    gpus = [
        (gpu.name, gpu.capability)
        for gpu in (found.cuda.gpus or found.smi.gpus)
        if gpu.capability
    ]
    return [
        _capability_row(found, found.build.capabilities, name, capability)
        for name, capability in dict.fromkeys(gpus)
    ]


def _capability_row(
    found: facts.Facts,
    held: tuple[str, ...],
    name: str,
    capability: str,
) -> rows.Row:
    what = "compute capability"
    shown = f"{capability} ({name})"
    needed = needed_capabilities(held)
    if not least_capability(held) <= _pair(capability):
        return rows.bad(
            what,
            shown,
            needed,
            "This TensorFlow has no code for it, although it may list it: take"
            " a newer GPU (on Google Cloud P4, P100, V100, T4, L4, A100).",
        )
    if has_machine_code(capability, held):
        return rows.good(what, shown, needed)
    driver = judging_driver.driver_version(found)
    if needs.numbers(driver) < needs.numbers(needs.PTX_DRIVER):
        return rows.bad(
            what,
            f"{shown}, driver {driver}",
            needed,
            "Its code is compiled from PTX at the first start, some of it newer"
            f" than this driver reads: install {needs.PTX_DRIVER} or newer.",
            verdict="warning",
        )
    if found.variable("CUDA_CACHE_DISABLE") == "1":
        return rows.bad(
            what,
            f"{shown}, CUDA_CACHE_DISABLE=1",
            needed,
            "Its code is compiled from PTX at every start: unset"
            " CUDA_CACHE_DISABLE.",
            verdict="warning",
        )
    cache = found.variable("CUDA_CACHE_PATH") or "~/.nv/ComputeCache"
    return rows.good(
        what,
        f"{shown}: from PTX, compiled at the first start, kept in {cache}",
        needed,
    )


def least_capability(held: tuple[str, ...]) -> tuple[int, int]:
    """Returns the oldest compute capability that a build has code for.

    Args:
      held: as sm_70 (machine code) or compute_80 (PTX).
    """
    return min(_held_pair(entry) for entry in held)


def has_machine_code(capability: str, held: tuple[str, ...]) -> bool:
    """Returns whether a build runs without being compiled.

    Machine code runs on its own major version, from its minor version on (CUDA
    programming guide, Binary Compatibility). For compute_80 the wheel has it
    for a sixth of the kernels alone, so that it counts as PTX.

    Args:
      capability: as 7.5.
      held: as sm_70 or compute_80.
    """
    major, minor = _pair(capability)
    return any(
        has_major == major and has_minor <= minor
        for has_major, has_minor in map(
            _held_pair, (e for e in held if e.startswith("sm_"))
        )
    )


def needed_capabilities(held: tuple[str, ...]) -> str:
    """Returns what a build holds, for people."""
    pairs = sorted(_held_pair(entry) for entry in held)
    code = [_held_pair(e) for e in held if e.startswith("sm_")]
    ptx = [pair for pair in pairs if pair not in code]
    least, newest = (".".join(map(str, p)) for p in (pairs[0], pairs[-1]))
    if not ptx:
        return f"{least} to {newest}"
    return f"{least} or newer (PTX from {newest})"


def _pair(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), int(minor)


def _held_pair(entry: str) -> tuple[int, int]:
    number = entry.rpartition("_")[2]
    return int(number[:-1]), int(number[-1])
