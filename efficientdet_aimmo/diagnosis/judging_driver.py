"""Judges card, container, kernel module, nvidia-smi and libcuda."""

from __future__ import annotations

from efficientdet_aimmo.diagnosis import facts, needs, rows

_GOOGLE = "Google Compute Engine"
_GOOGLE_INSTALLER = (
    "On Compute Engine Google's installer does it: sudo python3"
    " cuda_installer.pyz install_driver, from"
    " github.com/GoogleCloudPlatform/compute-gpu-installation."
)
_GPUS_FLAG = (
    "Start the container with its GPUs: docker run --gpus all (needs the NVIDIA"
    " Container Toolkit on the host), or nvidia.com/gpu in the limits of a"
    " Kubernetes pod. Where the host has no GPU: --allow_cpu."
)
_RESTART = (
    "The driver was upgraded under a running kernel module, as by unattended"
    " upgrades: restart the machine. To keep it from happening again: sudo"
    " apt-mark hold the driver's packages."
)


def cards(found: facts.Facts) -> list[str]:
    """Returns the GPUs' names, by whoever knows them best."""
    if found.cuda.gpus:
        return [gpu.name for gpu in found.cuda.gpus]
    if found.smi.gpus:
        return [gpu.name for gpu in found.smi.gpus]
    if found.kernel.models:
        return list(found.kernel.models)
    return [
        f"{needs.PCI_NAMES.get(number, 'NVIDIA GPU')} (PCI {number})"
        for number in found.kernel.pci
    ]


def is_closed_container(found: facts.Facts) -> bool:
    """Returns whether this is a container into which no GPU was handed."""
    is_reached = found.cuda.gpus or found.smi.gpus
    has_device = "nvidiactl" in found.kernel.nodes
    return bool(found.host.container) and not has_device and not is_reached


def card_row(found: facts.Facts) -> rows.Row:
    """Judges whether there is a GPU at all."""
    needed = "an NVIDIA GPU"
    names = cards(found)
    if names:
        memory = [gpu.memory_mib for gpu in found.cuda.gpus]
        memory += [gpu.memory_mib for gpu in found.smi.gpus]
        size = "".join(f", {mib / 1024:.0f} GiB" for mib in memory[:1])
        return rows.good("GPU", rows.listed(names) + size, needed)
    if found.host.container:
        return rows.bad("GPU", "none in this container", needed, _GPUS_FLAG)
    cloud = (
        "This VM has no GPU attached: stop it, edit it and add one (a quota for"
        " that GPU and a zone that has it are needed), or create one that has"
        " one. "
        if found.host.vendor == _GOOGLE
        else "Take a machine that has one. "
    )
    return rows.bad(
        "GPU",
        "none on the PCI bus",
        needed,
        cloud + "To compute on the CPU, give --allow_cpu.",
    )


def container_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges what of the GPU a container was given, nothing outside of one."""
    if not found.host.container:
        return []
    needed = "started with its GPUs"
    what = f"container ({found.host.container})"
    visible = found.variable("NVIDIA_VISIBLE_DEVICES")
    if is_closed_container(found):
        told = "" if visible is None else f", NVIDIA_VISIBLE_DEVICES={visible}"
        seen = "without GPU devices" + told
        if not found.kernel.pci and not found.kernel.driver:
            return []  # the row of the GPU says it
        return [rows.bad(what, seen, needed, _GPUS_FLAG)]
    allowed = found.variable("NVIDIA_DRIVER_CAPABILITIES")
    if allowed is not None and not {"all", "compute"} & set(allowed.split(",")):
        return [
            rows.bad(
                what,
                f"NVIDIA_DRIVER_CAPABILITIES={allowed}",
                "compute,utility",
                "Start the container with --env"
                " NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
            )
        ]
    count = len(found.cuda.gpus or found.smi.gpus)
    return [rows.good(what, f"with {count} GPU", needed)]


def module_row(found: facts.Facts) -> rows.Row:
    """Judges the driver's kernel module."""
    needed = f"{needs.DRIVER} or newer"
    version = driver_version(found)
    if not version and found.cuda.gpus:
        # A sandbox may hide the files; the row of libcuda judges.
        return rows.good("driver", "there, its version is hidden", needed)
    if not version:
        return _missing_module_row(found, needed)
    if needs.numbers(version) >= needs.numbers(needs.DRIVER):
        return rows.good("driver", version, needed)
    if found.cuda.gpus and _knows_cuda(found.cuda):
        # What decides is what libcuda answers.
        text = f"{version}, with a newer libcuda (forward compatibility)"
        return rows.good("driver", text, needed)
    return rows.bad(
        "driver",
        version,
        needed,
        f"CUDA {needs.CUDA} does not run on it. {_newer_driver(found)}",
    )


def _missing_module_row(found: facts.Facts, needed: str) -> rows.Row:
    if "nouveau" in found.kernel.modules:
        shown = "nouveau, which knows no CUDA"
        todo = _newer_driver(found)
    elif found.smi.found:
        shown = "installed, its kernel module is not loaded"
        todo = (
            "sudo modprobe nvidia says why. After a new kernel: install its"
            " headers (on Ubuntu linux-headers-$(uname -r)), then the driver"
            " again, and restart. With Secure Boot the module must be signed."
        )
    else:
        shown = "none"
        todo = _newer_driver(found)
    return rows.bad("driver", shown, needed, todo)


def _newer_driver(found: facts.Facts) -> str:
    """Returns how to get a driver that is new enough."""
    oldest = min((g.capability for g in found.cuda.gpus), default="")
    if oldest and needs.numbers(oldest) < needs.OLDEST_IN_NEW_DRIVERS:
        return "No newer one drives this GPU: see compute capability."
    where = " on the host" if found.host.container else ""
    how = (
        _GOOGLE_INSTALLER
        if found.host.vendor == _GOOGLE
        else "Then restart the machine."
    )
    return f"Install NVIDIA's driver, branch 535 or newer{where}. {how}"


def driver_version(found: facts.Facts) -> str:
    """Returns the driver's version, "" if nothing says it."""
    listed = [gpu.driver for gpu in found.smi.gpus]
    return found.kernel.driver or next(iter(listed), "")


def smi_row(found: facts.Facts) -> rows.Row:
    """Judges what nvidia-smi answers."""
    needed = "it answers"
    error = found.smi.error
    if not found.smi.found:
        return rows.bad(
            "nvidia-smi",
            "not found",
            needed,
            "It comes with the driver's programs, and training does without it."
            " In a container NVIDIA_DRIVER_CAPABILITIES must name utility.",
            verdict="warning",
        )
    if not error:
        return rows.good(
            "nvidia-smi", f"lists {len(found.smi.gpus)} GPU", needed
        )
    if "version mismatch" in error:
        todo = _RESTART
    elif "communicate with the NVIDIA driver" in error:
        todo = "See the driver: its kernel module must be loaded."
    elif "No devices" in error:
        todo = (
            "The module drives no card: sudo dmesg | grep -iE 'nvrm|xid' says"
            " why. Restart the machine; a VM, stop and start it, which gives"
            " another card."
        )
    elif found.host.container:
        todo = (
            "The container has lost its devices, as after a reload of systemd"
            " on the host: start it again."
        )
    else:
        todo = "sudo dmesg | grep -iE 'nvrm|xid' says why. Restart the machine."
    return rows.bad("nvidia-smi", error, needed, todo)


def cuda_row(found: facts.Facts) -> rows.Row:
    """Judges the driver's library, by which every program reaches the GPU."""
    needed = f"CUDA {needs.CUDA_OF_DRIVER} or newer"
    cuda = found.cuda
    if cuda.error:
        todo = (
            "Give the container NVIDIA_DRIVER_CAPABILITIES=compute,utility."
            if found.host.container
            else "Install the driver's libraries in the kernel module's version"
            " (on Ubuntu libnvidia-compute-535-server and the like)."
        )
        return rows.bad("libcuda", cuda.error, needed, todo)
    text = f"CUDA {cuda.version or 'unknown'}"
    if cuda.code:
        meaning = needs.CUDA_ERRORS.get(cuda.code, "see cuda.h")
        return rows.bad(
            "libcuda",
            f"{text}, error {cuda.code}: {meaning}",
            needed,
            _after_cuda_error(found),
        )
    if not cuda.gpus:
        return rows.bad(
            "libcuda", f"{text}, lists no GPU", needed, _after_cuda_error(found)
        )
    text = f"{text}, lists {len(cuda.gpus)} GPU"
    if not _knows_cuda(cuda):
        return rows.bad(
            "libcuda",
            text,
            needed,
            f"{_newer_driver(found)} In a container also look for a"
            " libcuda.so.1 of the image that stands before the host's.",
        )
    return rows.good("libcuda", text, needed)


def _knows_cuda(cuda: facts.Cuda) -> bool:
    least = needs.numbers(needs.CUDA_OF_DRIVER)
    return needs.numbers(cuda.version) >= least


def _after_cuda_error(found: facts.Facts) -> str:
    code = found.cuda.code
    mig = any(gpu.mig == "Enabled" for gpu in found.smi.gpus)
    if mig and not found.smi.mig_instances:
        return "See MIG below."
    if code == 803:
        return _RESTART
    if code == 804:
        return (
            "A libcuda of the package cuda-compat is found first, which this"
            " GPU does not take: remove it from LD_LIBRARY_PATH and"
            " /etc/ld.so.conf.d."
        )
    if code == 802:
        return (
            "On machines with NVSwitch the Fabric Manager must run: sudo"
            " systemctl start nvidia-fabricmanager, in the driver's version."
        )
    if code == 35:
        return _newer_driver(found)
    if code == 999 and "nvidia-uvm" not in found.kernel.nodes:
        return (
            "The module nvidia_uvm is not loaded: sudo modprobe nvidia_uvm, and"
            " sudo nvidia-modprobe -u -c=0 for its device."
        )
    if code == 46:
        return (
            "Another process has the GPU for itself (nvidia-smi: Compute M.)."
            " End it, or sudo nvidia-smi -c DEFAULT."
        )
    return (
        "The module drives no card, or access is refused: ls -l /dev/nvidia*;"
        " sudo dmesg | grep -iE 'nvrm|xid'. Restart the machine; a VM, stop and"
        " start it, which gives another card."
    )
