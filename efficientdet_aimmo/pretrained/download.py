"""Published weights by their names, fetched once into a cache folder.

Addresses. Those of the D networks stand in the README of google/automl
(efficientdet/README.md, table of checkpoints), those of the lite networks in
its later versions. There lite3x's is misspelt ("lite3x..gz"); the one used here
follows the others' pattern, and other projects fetch it. Those of EfficientNet
b0 to b7 stand in the README of tensorflow/tpu (models/official/efficientnet,
row AutoAugment: the backbones that the official EfficientDet starts from),
those of EfficientNet-lite in other projects that fetch them. All were read in
copies of these documents; none was fetched when this was written.

A cache folder holds NAME.tar.gz (or .tgz) as published and NAME, unpacked. Both
are whole or absent. A file or folder put there by hand under such a name is
used as if it had been fetched.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from efficientdet_aimmo import archives, transfer
from hparams import config as config_lib
from hparams import presets
from tfrecord_tools import command

PUBLISHED = "https://storage.googleapis.com/cloud-tpu-checkpoints"

# d7x, the largest, has less than 1 GB: 77 M weights, averages and momenta.
_MOST_BYTES = 4 << 30
_MOST_MEMBERS = 1000

_MODEL_PATH = re.compile(r'^model_checkpoint_path:\s*"([^"]+)"', re.MULTILINE)


class _Place(NamedTuple):
    """Where a name's files come from and go to."""

    name: str
    url: str
    archive: str
    folder: str
    unpacking: str


def kind_of(text: str) -> Literal["detector", "backbone"] | None:
    """Returns what text names, None if it is no name of published weights."""
    if text in presets.MODEL_NAMES:
        return "detector"
    return "backbone" if text in config_lib.BACKBONES else None


def is_name(text: str) -> bool:
    """Returns whether text is the name of published weights, not a path."""
    return kind_of(text) is not None


def _published_path(name: str) -> str:
    """Returns a name's address below PUBLISHED."""
    is_lite = "-lite" in name
    if kind_of(name) == "backbone":
        return f"efficientnet/{'lite' if is_lite else 'ckptsaug'}/{name}.tar.gz"
    if is_lite:
        return f"efficientdet/coco/{name}.tgz"
    return f"efficientdet/coco2/{name}.tar.gz"


def default_cache_dir(environment: Mapping[str, str]) -> str:
    """Returns the folder that the environment gives for fetched files.

    EFFICIENTDET_AIMMO_CACHE, else efficientdet_aimmo in XDG_CACHE_HOME, else
    in ~/.cache. As the XDG specification has it, a relative XDG_CACHE_HOME
    does not count.
    """
    own = environment.get("EFFICIENTDET_AIMMO_CACHE")
    if own:
        return own
    home = environment.get("HOME") or os.path.expanduser("~")
    common = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(common):
        common = os.path.join(home, ".cache")
    return os.path.join(common, "efficientdet_aimmo")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _data_error(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


@contextlib.contextmanager
def _locked(path: str, name: str) -> Iterator[None]:
    """Lets one process at a time work on a name."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{name}: waiting for another process that fetches it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_checkpoint(folder: str) -> str:
    """Returns the checkpoint's prefix below a folder.

    The one that a file 'checkpoint' names, else the only one there is. A file
    'checkpoint' may name the place where the checkpoint was once written; its
    last part is what counts.

    Raises:
      ArchiveError: there is none, or there are several.
    """
    named, found = [], []
    for parent, _, names in os.walk(folder):
        found += [
            os.path.join(parent, name).removesuffix(".index")
            for name in names
            # Archives made on a Mac hold a '._' file beside every file.
            if name.endswith(".index") and not name.startswith(".")
        ]
        if "checkpoint" in names:
            path = os.path.join(parent, "checkpoint")
            with open(path, encoding="utf-8", errors="replace") as file:
                match = _MODEL_PATH.search(file.read())
            if match:
                name = os.path.basename(match.group(1))
                named.append(os.path.join(parent, name))
    candidates = [prefix for prefix in named if prefix in found] or found
    if len(candidates) != 1:
        paths = sorted(os.path.relpath(p, folder) for p in candidates)
        raise archives.ArchiveError(
            f"it holds {len(candidates)} TensorFlow checkpoints"
            f"{f' {paths}' if paths else ''}, expected one"
        )
    return candidates[0]


def _checked(folder: str) -> str:
    """Returns the checkpoint below a folder; TensorFlow checks every tensor.

    Raises:
      ArchiveError: there is not one checkpoint, or a tensor cannot be read.
    """
    from efficientdet_aimmo.pretrained import tf_checkpoint  # TensorFlow

    prefix = _find_checkpoint(folder)
    try:
        found = tf_checkpoint.tensors(prefix)
    except tf_checkpoint.UnreadableError as error:
        raise archives.DamagedArchive(
            f"the checkpoint in it cannot be read: {error}"
        ) from error
    if not found:
        raise archives.DamagedArchive("the checkpoint in it is empty")
    return prefix


def _unpack(place: _Place) -> str:
    """Unpacks the archive, checks the content, then gives it its name."""
    # What a killed process has left; the lock says that it is nobody's.
    shutil.rmtree(place.unpacking, ignore_errors=True)
    os.makedirs(place.unpacking)
    try:
        archives.unpack(
            place.archive,
            place.unpacking,
            most_bytes=_MOST_BYTES,
            most_members=_MOST_MEMBERS,
        )
        prefix = _checked(place.unpacking)
        if os.path.isdir(place.folder):
            shutil.rmtree(place.folder)
        os.rename(place.unpacking, place.folder)
    finally:
        shutil.rmtree(place.unpacking, ignore_errors=True)
    return os.path.join(place.folder, os.path.relpath(prefix, place.unpacking))


def _download(place: _Place) -> None:
    try:
        transfer.download(place.url, place.archive)
    except transfer.TransferError as error:
        folder, file = os.path.split(place.archive)
        by_hand = f"fetch the file elsewhere and put it into {folder} as {file}"
        if error.is_partial:
            raise command.UserError(
                command.ExitCode.STOPPED,
                f"{place.url} broke off: {error}. What arrived is kept: run the"
                f" same command to go on, or {by_hand}.",
            ) from error
        raise _data_error(
            f"{place.name} cannot be fetched from {place.url}: {error}. Check"
            f" the network and its proxy, or {by_hand}."
        ) from error


def _fetch(place: _Place) -> str:
    """Returns the checkpoint; network only where the cache does not do."""
    if os.path.isdir(place.folder):
        try:
            return _checked(place.folder)
        except archives.ArchiveError as error:
            _say(f"{place.folder} is unpacked anew: {error}")
    if os.path.isfile(place.archive):
        try:
            return _unpack(place)
        except archives.DamagedArchive as error:
            _say(f"{place.archive} is fetched again: {error}")
        except archives.ArchiveError as error:
            raise _data_error(
                f"{place.archive} is not used: {error}. Expected the archive of"
                f" {place.url}. Remove the file, and it is fetched from there."
            ) from error
    _download(place)
    try:
        return _unpack(place)
    except archives.ArchiveError as error:
        os.remove(place.archive)
        raise _data_error(
            f"What came from {place.url} is not used: {error}. Nothing of it"
            " was kept. Check whether a proxy answers in the server's place."
        ) from error


def fetch(name: str, cache_dir: str, *, base_url: str = PUBLISHED) -> str:
    """Returns the checkpoint of a name: a path without '.index'.

    It is fetched if the cache folder has neither the folder NAME nor the
    archive. A damaged folder is unpacked anew, a damaged archive fetched again,
    once. Every tensor is read once before the path is returned.

    Args:
      name: one of hparams.presets.MODEL_NAMES or of hparams.config.BACKBONES.
      cache_dir: made if it does not exist.
      base_url: what stands before the published paths.

    Raises:
      UserError: USAGE, no such name. DATA, it cannot be fetched (no network,
        no such file), or is not what was expected (hostile, damaged, not one
        checkpoint): the same command would fail again. STOPPED, the connection
        broke off with a part received: the same command goes on there. DISK,
        the cache folder cannot be written. DEVICE, this Python cannot unpack
        safely.
    """
    if not is_name(name):
        known = [*presets.MODEL_NAMES, *config_lib.BACKBONES]
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise command.UserError(
            command.ExitCode.USAGE,
            f"There are no published weights called {name!r}.{hint} Known are:"
            f" {', '.join(known)}.",
        )
    if not archives.is_supported():
        raise command.UserError(
            command.ExitCode.DEVICE,
            f"Python {sys.version.split()[0]} cannot unpack archives safely:"
            " tarfile's filters came with 3.10.12 and 3.11.4. Use a later"
            f" Python, or unpack {name} yourself into {cache_dir}.",
        )
    path = _published_path(name)
    place = _Place(
        name=name,
        url=f"{base_url}/{path}",
        archive=os.path.join(cache_dir, os.path.basename(path)),
        folder=os.path.join(cache_dir, name),
        unpacking=os.path.join(cache_dir, f".{name}.unpacking"),
    )
    try:
        # A folder that may only be read, shared by many, needs no lock.
        if os.path.isdir(place.folder):
            with contextlib.suppress(archives.ArchiveError):
                return _checked(place.folder)
        os.makedirs(cache_dir, exist_ok=True)
        with _locked(os.path.join(cache_dir, f".{name}.lock"), name):
            return _fetch(place)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"The cache folder {cache_dir} cannot be used: {error}. Make room"
            " or choose another with EFFICIENTDET_AIMMO_CACHE.",
        ) from error
