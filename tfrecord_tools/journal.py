"""The folder that a conversion works in, and what of it can be used again.

OUT/.partial/journal.json        what is being written
OUT/.partial/SPLIT.00000.entry   a finished part: see parts.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import PIL

from tfrecord_tools import command, parts, storage

_JOURNAL = "journal.json"
_VERSION = 1


def contents(
    arguments: Mapping[str, Any], planned: Sequence[parts.Part]
) -> dict[str, Any]:
    """Returns what must be equal for finished parts to be used again.

    Args:
      arguments: as they will stand in the manifest.
      planned: all parts.
    """
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    for part in planned:
        counts[part.split] = counts.get(part.split, 0) + 1
        for item in part.items:
            digest.update(
                f"{part.name}\0{item.image}\0{item.source_id}\0"
                f"{sorted(dataclasses.asdict(item.task).items())}\n".encode()
            )
    values = {
        "journal": _VERSION,
        # Another version may compress the same pixels to other bytes.
        "pillow": PIL.__version__,
        "arguments": dict(arguments),
        "parts": counts,
        "plan": digest.hexdigest(),
    }
    # As JSON, because what is compared with went through it.
    loaded: dict[str, Any] = json.loads(json.dumps(values))
    return loaded


def resume(
    folder: str, now: Mapping[str, Any], planned: Sequence[parts.Part]
) -> set[str]:
    """Returns the names of the parts that need not be made again.

    What cannot be used is removed, and said.

    Args:
      folder: the folder that is worked in; it is made if it is missing.
      now: contents() of this conversion.
      planned: all parts.

    Raises:
      OSError: the folder cannot be read or written.
    """
    there = [n for n in storage.names(folder) if n.endswith(".entry")]
    why = _difference(_read(folder), now)
    if why:
        if there:
            print(
                f"Discarding {len(there)} finished shards of a conversion that"
                f" was stopped: {why}."
            )
        storage.remove_tree(folder)
        storage.make_folder(folder)
        text = json.dumps(now)
        storage.write_bytes(storage.join(folder, _JOURNAL), text.encode())
        return set()
    entries = parts.finished(folder, planned)
    parts.remove_unfinished(folder, entries)
    if len(there) > len(entries):
        print(
            f"Discarding {len(there) - len(entries)} finished shards of a"
            " conversion that was stopped: their files were changed."
        )
    if entries:
        print(
            f"Going on with a conversion that was stopped: {len(entries)} of"
            f" {len(planned)} shards are finished."
        )
    return set(entries)


def _read(folder: str) -> dict[str, Any] | None:
    try:
        content = storage.read_bytes(storage.join(folder, _JOURNAL))
        values = json.loads(content)
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _difference(before: dict[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "its journal is missing"
    if before == now:
        return ""
    old, new = before.get("arguments", {}), now["arguments"]
    changed = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
    if "input_fingerprint" in changed and len(changed) == 1:
        return "its input files have changed since"
    changed = [n for n in changed if n != "input_fingerprint"]
    if changed:
        return "it had other arguments (" + (
            "; ".join(
                f"{n} {old.get(n)!r}, now {new.get(n)!r}" for n in changed
            )
            + ")"
        )
    return "another version of this program or of Pillow wrote it"


@contextlib.contextmanager
def kept_if_of_use(folder: str) -> Iterator[None]:
    """Removes the folder at the end, unless a stop leaves finished parts in it.

    Bad data stops the same command again: nothing is kept then.
    """
    try:
        yield
    except command.UserError as error:
        if error.exit_code == command.ExitCode.DATA:
            storage.remove_tree(folder)
        raise
    else:
        storage.remove_tree(folder)
    finally:
        names = storage.names(folder)
        if not any(name.endswith(".entry") for name in names):
            storage.remove_tree(folder)
