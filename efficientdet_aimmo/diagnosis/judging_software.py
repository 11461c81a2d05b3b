"""Judges TensorFlow, its CUDA libraries, and what TensorFlow itself says."""

from __future__ import annotations

from collections.abc import Mapping

from efficientdet_aimmo.diagnosis import facts, installed, needs, rows


def tensorflow_row(found: facts.Facts) -> rows.Row:
    """Judges which TensorFlow is installed, and whether it is alone."""
    needed = f"{needs.TENSORFLOW} alone, for CUDA"
    there = [p for p in found.packages if p.name in installed.TENSORFLOWS]
    shown = ", ".join(f"{p.name} {p.version}" for p in there) or "none"
    names = " ".join(dict.fromkeys(package.name for package in there))
    if len(there) > 1:
        return rows.bad(
            "TensorFlow",
            shown,
            needed,
            "They overwrite each other's files: pip uninstall -y"
            f" {names}, then {needs.INSTALL}",
            is_gpu=False,
        )
    if not there:
        return rows.bad(
            "TensorFlow", shown, needed, needs.INSTALL, is_gpu=False
        )
    if there[0].version != needs.TENSORFLOW:
        return rows.bad(
            "TensorFlow",
            shown,
            needed,
            f"pip uninstall -y {names}, then {needs.INSTALL}",
            is_gpu=False,
        )
    if found.build is None or not found.build.is_cuda:
        return rows.bad(
            "TensorFlow",
            f"{shown}, built for the CPU alone",
            needed,
            f"pip uninstall -y {names}, then {needs.INSTALL}",
        )
    return rows.good("TensorFlow", shown, needed, is_gpu=False)


def keras_row(found: facts.Facts) -> rows.Row:
    """Judges Keras, whose version 3 any other package may bring along."""
    versions = [p.version for p in found.packages if p.name == "keras"]
    shown = ", ".join(versions) or "none"
    if len(versions) == 1 and _begins(versions[0], needs.KERAS):
        return rows.good("Keras", shown, needs.KERAS, is_gpu=False)
    return rows.bad(
        "Keras",
        shown,
        needs.KERAS,
        f"pip install 'keras=={needs.KERAS}.*'",
        is_gpu=False,
    )


def wheel_row(found: facts.Facts) -> rows.Row:
    """Judges NVIDIA's wheels against those that TensorFlow pins."""
    have = {p.name: p.version for p in found.packages if "nvidia" in p.name}
    want = {p.name: p.version for p in found.wanted}
    if not want:
        return rows.bad(
            "CUDA wheels",
            f"{len(have)}; no tensorflow says which",
            f"those of tensorflow[and-cuda] {needs.TENSORFLOW}",
            needs.INSTALL,
        )
    cudnn, cuda = _pinned(want, "cudnn"), _pinned(want, "cuda-runtime")
    needed = f"{len(want)}: CUDA {cuda}, cuDNN {cudnn}"
    loaded = all(not library.error for library in found.libraries)
    verdict: rows.Verdict = "warning" if loaded else "broken"
    other = sorted(n for n in have if _stem(n) in map(_stem, want.keys()))
    other = [name for name in other if name not in want]
    missing = sorted(set(want) - set(have))
    differing = sorted(n for n in want if n in have and have[n] != want[n])
    if other and missing:
        return rows.bad(
            "CUDA wheels",
            f"of another CUDA: {_names(other, have)}",
            needed,
            f"pip uninstall -y {' '.join(other)}, then {needs.INSTALL}",
            verdict=verdict,
        )
    if missing:
        system = " The libraries are found elsewhere." if loaded else ""
        return rows.bad(
            "CUDA wheels",
            f"{len(want) - len(missing)} of {len(want)}, without"
            f" {_some(missing)}",
            needed,
            f"{needs.INSTALL}{system and '.'}{system}",
            verdict=verdict,
        )
    if differing:
        return rows.bad(
            "CUDA wheels",
            f"other versions: {_names(differing, have)}",
            needed,
            f"{needs.INSTALL}; what another package pins does not go with it",
            verdict=verdict,
        )
    return rows.good("CUDA wheels", needed, needed)


def library_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges whether the libraries that TensorFlow opens can be opened."""
    failed = [library for library in found.libraries if library.error]
    count = len(found.libraries)
    needed = f"all {count}"
    if len(failed) == count:
        return [
            rows.bad(
                "CUDA libraries", f"none of {count}", needed, needs.INSTALL
            )
        ]
    # A library that needs another one names that.
    judged = [
        rows.bad(
            library.name,
            library.error,
            "can be opened",
            f"{needs.INSTALL}; it is looked for in LD_LIBRARY_PATH, in NVIDIA's"
            " wheels beside TensorFlow, in the system",
        )
        for library in failed
    ]
    if not failed:
        places = {
            "wheels" if "/nvidia/" in i.path else "system"
            for i in found.libraries
        }
        shown = f"all {count}, of the {' and the '.join(sorted(places))}"
        judged.append(rows.good("CUDA libraries", shown, needed))
    return [*judged, *_version_rows(found)]


def _version_rows(found: facts.Facts) -> list[rows.Row]:
    """Judges the versions that the libraries say of themselves.

    cuDNN refuses at the first step to be older than what TensorFlow was built
    with: the same major version, and no lower minor version.
    """
    want = {package.name: package.version for package in found.wanted}
    pinned = {
        "libcudart.so.12": ("CUDA", _pinned(want, "cuda-runtime")),
        "libcudnn.so.8": ("cuDNN", _pinned(want, "cudnn")),
    }
    judged = []
    for library in found.libraries:
        if library.name not in pinned or not library.version:
            continue
        what, least = pinned[library.name]
        if not least:
            continue
        needed = f"{least} or a newer {least.split('.')[0]}.x"
        is_new = needs.numbers(library.version) >= needs.numbers(least)
        if is_new:
            judged.append(rows.good(what, library.version, needed))
            continue
        judged.append(
            rows.bad(
                what,
                f"{library.version} in {library.path}",
                needed,
                "An older one is found first: take its folder out of"
                f" LD_LIBRARY_PATH, or {needs.INSTALL}",
                # CUDA of the same major version runs, cuDNN refuses.
                verdict="broken" if what == "cuDNN" else "warning",
            )
        )
    return judged


def seen_row(found: facts.Facts, num_expected: int) -> rows.Row:
    """Judges what TensorFlow lists in a process of its own.

    Args:
      found: the facts.
      num_expected: GPUs that it should list.
    """
    needed = f"{num_expected or 1} GPU"
    seen = found.tensorflow
    assert seen is not None
    if seen.error:
        return rows.bad(
            "TensorFlow's view",
            f"it cannot be imported: {seen.error}",
            needed,
            f"Make the environment anew; {needs.INSTALL}",
            is_gpu=False,
        )
    if not seen.gpus:
        return rows.bad(
            "TensorFlow's view",
            "lists no GPU",
            needed,
            _log(seen) + "The rows above say what to do. If they are all ok,"
            " start it with TF_CPP_MIN_LOG_LEVEL=0 and read its log.",
        )
    shown = rows.listed(seen.gpus)
    if len(seen.gpus) < num_expected:
        return rows.bad(
            "TensorFlow's view",
            shown,
            needed,
            f"It leaves GPUs out. {_log(seen)}".rstrip(),
            verdict="warning",
        )
    return rows.good("TensorFlow's view", shown, needed)


def _log(seen: facts.TensorFlow) -> str:
    """Returns what TensorFlow writes, without what it says to everybody."""
    lines = []
    for line in seen.log:
        library, _, reason = line.partition("; dlerror: ")
        name = library.rpartition("library ")[2].strip("'")
        if reason:
            is_itself = reason.startswith(f"{name}:")
            why = "not found" if is_itself else reason.partition(":")[0]
            lines.append(f"{name} {why if is_itself else f'needs {why}'}")
        else:
            lines.append(line.partition(". Please make sure")[0])
    return f"It says: {'; '.join(lines)}. " if lines else ""


def tensorboard_row(found: facts.Facts) -> rows.Row:
    """Judges whether a run's figures can be looked at."""
    needed = "2.15"
    versions = [p.version for p in found.packages if p.name == "tensorboard"]
    shown = ", ".join(versions) or "none"
    error = found.tensorflow.tensorboard_error if found.tensorflow else ""
    if error:
        shown += f", cannot be imported: {error}"
    if versions and _begins(versions[0], needed) and not error:
        return rows.good("TensorBoard", shown, needed, is_gpu=False)
    return rows.bad(
        "TensorBoard",
        shown,
        needed,
        "Training writes its figures all the same; to look at them: pip install"
        f" 'tensorboard=={needed}.*'",
        verdict="warning",
        is_gpu=False,
    )


def _begins(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


def _pinned(want: Mapping[str, str], part: str) -> str:
    """Returns 8.9 for the wheel of cuDNN, "" if it is not pinned."""
    version = want.get(f"nvidia-{part}-cu12", "")
    return ".".join(version.split(".")[:2])


def _stem(wheel: str) -> str:
    """Returns nvidia-cudnn for nvidia-cudnn-cu12."""
    return wheel.rpartition("-cu")[0] or wheel


def _names(names: list[str], versions: Mapping[str, str]) -> str:
    return _some([f"{name} {versions[name]}" for name in names])


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + rest
