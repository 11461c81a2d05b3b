"""What nvidia-smi, /proc, /sys and /dev say of GPUs and their driver."""

from __future__ import annotations

import pathlib
import re

from efficientdet_aimmo.diagnosis import asking, facts

_SMI = "nvidia-smi"
# What older versions cannot be asked is left out, from the right: compute_cap
# came with 495, mig.mode.current with 450.
_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "mig.mode.current",
    "compute_cap",
)
_FEWEST_FIELDS = 3
_UNKNOWN_FIELD = "is not a valid field"
_MODULE_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")
_NVIDIA = "0x10de"  # PCI's number of the vendor
_DISPLAY = "0x03"  # PCI's class of graphics cards; 0x0302 are those for compute
_MODULES = ("nvidia", "nvidia_uvm", "nouveau")


def smi(ask: asking.Ask) -> facts.Smi:
    """Returns what nvidia-smi answers."""
    for number in range(len(_FIELDS), _FEWEST_FIELDS - 1, -1):
        fields = ",".join(_FIELDS[:number])
        answer = ask(
            [_SMI, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        )
        if _UNKNOWN_FIELD not in answer.output:
            break
    if answer.code is None:
        return facts.Smi(found=False, error="", gpus=(), mig_instances=0)
    error = answer.fault()
    gpus = () if error else parse_gpus(answer.output)
    instances = 0
    if any(gpu.mig == "Enabled" for gpu in gpus):
        instances = count_instances(ask([_SMI, "-L"]).output)
    if not error and not gpus:
        # Some versions say it and succeed.
        error = " ".join(answer.output.split()) or "it lists no GPU"
    return facts.Smi(
        found=True, error=error, gpus=gpus, mig_instances=instances
    )


def parse_gpus(output: str) -> tuple[facts.SmiGpu, ...]:
    """Returns the GPUs in nvidia-smi's table of comma-separated values."""
    gpus = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < _FEWEST_FIELDS:
            continue
        name, driver, memory, mig, capability = [*cells, "", ""][:5]
        gpus.append(
            facts.SmiGpu(
                name=name,
                driver=driver,
                capability=capability if capability[:1].isdigit() else "",
                memory_mib=int(memory) if memory.isdigit() else 0,
                mig=mig if mig in ("Enabled", "Disabled") else "",
            )
        )
    return tuple(gpus)


def count_instances(output: str) -> int:
    """Returns how many MIG instances nvidia-smi -L lists."""
    return len(re.findall(r"^\s+MIG .*UUID: MIG-", output, re.M))


def parse_module_version(text: str) -> str:
    """Returns the version in /proc/driver/nvidia/version, "" without one."""
    found = _MODULE_VERSION.search(text)
    return found.group(1) if found else ""


def kernel(root: pathlib.Path) -> facts.Kernel:
    """Returns what the system shows of GPUs.

    Args:
      root: the file system's root; "/" but in tests.
    """
    folder = root / "proc/driver/nvidia"
    informations = sorted(folder.glob("gpus/*/information"))
    loaded = {line.split()[0] for line in _lines(root / "proc/modules")}
    return facts.Kernel(
        driver=parse_module_version("\n".join(_lines(folder / "version"))),
        models=tuple(_model(path) for path in informations),
        modules=tuple(name for name in _MODULES if name in loaded),
        pci=tuple(
            card
            for path in sorted((root / "sys/bus/pci/devices").glob("*"))
            if (card := _card(path))
        ),
        nodes=tuple(sorted(p.name for p in (root / "dev").glob("nvidia*"))),
    )


def is_shown(found: facts.Kernel) -> bool:
    """Returns whether the system has a GPU of NVIDIA, usable or not."""
    return bool(found.models or found.pci or found.driver or found.nodes)


def _lines(path: pathlib.Path) -> list[str]:
    """Returns a system file's lines, none if it is not there."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _model(information: pathlib.Path) -> str:
    for line in _lines(information):
        key, _, value = line.partition(":")
        if key.strip() == "Model":
            return value.strip()
    return information.parent.name


def _card(device: pathlib.Path) -> str:
    """Returns 10de:1db1 for a GPU of NVIDIA, "" for other devices."""
    vendor, kind, number = (
        "".join(_lines(device / name)).strip()
        for name in ("vendor", "class", "device")
    )
    if vendor != _NVIDIA or not kind.startswith(_DISPLAY):
        return ""
    return f"{vendor}:{number}".replace("0x", "")
