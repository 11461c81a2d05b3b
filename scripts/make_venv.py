"""Makes the virtual environment of pinned packages, if it is not there yet.

    python3.11 scripts/make_venv.py .venv [named]

"named" says that the user asked for the Python this runs with: an environment
of another one is then refused, not used.

The folder's stamp names what was installed: an environment that is complete and
current is left alone, one of another lock or of an interrupted installation is
made anew. A folder without a stamp was made by hand: it is kept, and the pinned
packages are installed into it. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD_LOCK = ROOT / "requirements" / "build.lock"
LOCK = ROOT / "requirements" / "dev.lock"
STAMP_NAME = "efficientdet-aimmo.stamp"
UNFINISHED = "unfinished"
USABLE = (
    "import pip, sys; sys.exit(sys.version_info[:2] not in [(3, 10), (3, 11)])"
)
SECONDS_BETWEEN_LINES = 20  # without a terminal


def wanted_stamp() -> str:
    """Returns a digest of all that decides what the environment holds."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (BUILD_LOCK, LOCK, ROOT / "setup.cfg", ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _can_run(python: pathlib.Path) -> bool:
    try:
        check = subprocess.run([python, "-c", USABLE], capture_output=True)
    except OSError:
        return False
    return check.returncode == 0


def prepare(folder: pathlib.Path, wanted: str) -> bool:
    """Returns whether packages have to be installed into folder.

    Args:
      folder: the environment; made, or made anew, where that is needed.
      wanted: the stamp of a finished and current environment.
    """
    stamp = folder / STAMP_NAME
    python = folder / "bin" / "python"
    old = folder.with_name(f"{folder.name}.old")
    new = folder.with_name(f"{folder.name}.new")
    # Renamed before it is emptied and after it is stamped: a folder without a
    # stamp is never one that an interruption left behind.
    for left in (old, new):
        shutil.rmtree(left, ignore_errors=True)
    if stamp.exists():
        if stamp.read_text() == wanted and _can_run(python):
            return False
        folder.rename(old)
        shutil.rmtree(old)
    elif folder.exists():
        if not _can_run(python):
            sys.exit(
                f"error: {folder} exists, was not made by make and holds no"
                " Python 3.10 or 3.11 with pip. Move it away, then run make."
            )
        print(f"{folder} was made by hand: installing into it", flush=True)
        return True
    print(f"making {folder} with Python {sys.version.split()[0]}", flush=True)
    new.mkdir()
    (new / STAMP_NAME).write_text(UNFINISHED)
    new.rename(folder)
    venv.create(folder, with_pip=True, symlinks=True)
    return True


def check_version(folder: pathlib.Path) -> None:
    """Refuses an environment of another Python than the one running."""
    config = (folder / "pyvenv.cfg").read_text()
    found = re.search(r"^version\S* = (\d+\.\d+)", config, re.MULTILINE)
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if found is not None and found[1] != running:
        sys.exit(
            f"error: {folder} has Python {found[1]}, PYTHON names {running}."
            " Run make clean first, or leave PYTHON out."
        )


def _names(lock: pathlib.Path) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE))


def _watch(
    process: subprocess.Popen[bytes],
    log: pathlib.Path,
    folder: pathlib.Path,
    what: str,
) -> int:
    """Shows how far an installation is until it ends; returns its code."""
    known = len(_names(LOCK))
    start = time.monotonic()
    said_s = 0.0
    code = None
    while code is None:
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        installed = len(list(folder.glob("lib/*/site-packages/*.dist-info")))
        seconds = time.monotonic() - start
        text = (
            f"{what}: {installed} of up to {known} installed, {seconds:.0f} s"
        )
        if sys.stdout.isatty():
            print(f"\r\033[K  {text}", end="", flush=True)
        elif code is not None or seconds - said_s >= SECONDS_BETWEEN_LINES:
            print(f"  {text}", flush=True)
            said_s = seconds
    if sys.stdout.isatty():
        print()
    return code


def _uv_environment(python: pathlib.Path) -> dict[str, str]:
    """Returns an environment that gives uv the settings that pip has.

    Behind a mirror or a certificate of its own, a machine is set up for pip.
    """
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = dict(
        re.findall(r"^[^.\n]*\.\.?([\w-]+)='(.*)'$", listed, re.MULTILINE)
    )
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
    }
    # Any index may serve a package: its content is pinned by the hash.
    environment = {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match"}
    for setting, name in names.items():
        if setting in settings:
            environment.setdefault(name, settings[setting])
    return environment


def install(folder: pathlib.Path, what: str, command: list[str]) -> None:
    """Runs an installer, with one line of progress instead of its output.

    Args:
      folder: the environment.
      what: the name of this part, for the progress line.
      command: the program and its arguments.
    """
    log = folder / "install.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=_uv_environment(folder / "bin" / "python"),
        ) as process,
    ):
        try:
            code = _watch(process, log, folder, what)
        except KeyboardInterrupt:
            process.terminate()
            raise
    if code:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        sys.exit(
            "\n".join([f"error: it ended with code {code}, see {log}:", *lines])
        )


def main() -> None:
    """Makes the environment named on the command line."""
    folder = ROOT / sys.argv[1]
    with LOCK.open() as lock:
        # Two makes at once: the second waits, then finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = wanted_stamp()
        is_missing = prepare(folder, wanted)
        if sys.argv[2:] == ["named"]:
            check_version(folder)
        if not is_missing:
            return
        python = str(folder / "bin" / "python")
        # pip installs uv, which then takes a quarter of pip's time.
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
        locked = ["--require-hashes", "--requirement"]
        install(folder, "build tools", [*pip, *locked, str(BUILD_LOCK)])
        # Without isolation the builds use the pinned tools just installed.
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--python", python]
        uv += ["--no-build-isolation"]
        # uv leaves that to the first import, and where Python may not write
        # (PYTHONDONTWRITEBYTECODE) to every one: TensorFlow's takes 8 s then
        # in place of 3.
        packages = [*uv, "--compile-bytecode", *locked, str(LOCK)]
        install(folder, "packages", packages)
        own = [*uv, "--no-deps", "--editable", str(ROOT)]
        install(folder, "efficientdet-aimmo", own)
        (folder / STAMP_NAME).write_text(wanted)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the next make starts the installation again")
