"""What a data set's files are called, and how they get their names."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from tfrecord_tools import command, formats, schema, storage

PARTIAL = ".partial"
_MOVES = "moves.json"
_OWN_NAME = re.compile(
    r"(train|val|test)(-\d{5}-of-\d{5}\.tfrecord|\.json)|dataset\.json"
    r"|report\.html"
)


@contextlib.contextmanager
def disk_errors(folder: str) -> Iterator[None]:
    """Turns the system's refusals to write into one message.

    Raises:
      command.UserError: a system call failed.
    """
    try:
        yield
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"{folder} cannot be written: {error.strerror}"
            f" ({error.filename or 'while writing'}). Make room or choose"
            " another --output_dir, and run the same command again: shards"
            " that are finished are kept.",
        ) from error


def own_names(folder: str) -> list[str]:
    """Returns what in a folder is called as a data set's files are."""
    return [n for n in storage.names(folder) if _OWN_NAME.fullmatch(n)]


def read_manifest(
    folder: str, names: list[str]
) -> tuple[schema.Manifest | None, str]:
    """Returns a folder's manifest, or why it has none: "" if it has nothing.

    Args:
      folder: the output folder.
      names: what own_names returns for it.
    """
    if schema.MANIFEST_NAME not in names:
        return None, f"it holds {names[0]} and no {schema.MANIFEST_NAME}" if (
            names
        ) else ""
    path = storage.join(folder, schema.MANIFEST_NAME)
    try:
        text = storage.read_bytes(path).decode()
        return schema.parse_manifest(text, path), ""
    except (schema.ManifestError, ValueError) as error:
        return None, str(error)


def folders(wanted: Sequence[str]) -> list[str]:
    """Returns names that formats take and that others may have as well.

    Args:
      wanted: names of formats.FORMATS.
    """
    found = []
    if formats.WITH_IMAGES.intersection(wanted):
        found.append(formats.IMAGES_FOLDER)
    if formats.YOLO in wanted:
        found += [formats.LABELS_FOLDER, formats.YOLO_NAME]
    return found


def names(manifest: schema.Manifest) -> list[str]:
    """Returns the names of a data set's files and folders but the manifest."""
    found = [s.name for part in manifest.splits.values() for s in part.shards]
    if formats.WITH_JSON.intersection(manifest.formats):
        found += [f"{name}.json" for name in manifest.splits]
    return [*found, *folders(manifest.formats), schema.REPORT_NAME]


def commit(
    folder: str,
    partial: str,
    manifest: schema.Manifest,
    names: Mapping[str, str],
) -> None:
    """Moves a finished data set to its final names, the manifest last.

    Args:
      folder: the output folder; its older data set, if any, is removed.
      partial: where the files are.
      manifest: what is there.
      names: final names by those in partial.

    Raises:
      command.UserError: the disk refuses.
    """
    with disk_errors(folder):
        content = manifest.to_json().encode()
        storage.write_bytes(
            storage.join(partial, schema.MANIFEST_NAME), content
        )
        moves = {**names, schema.MANIFEST_NAME: schema.MANIFEST_NAME}
        for name in moves:
            _flush(storage.join(partial, name))
        old, _ = read_manifest(folder, own_names(folder))
        replaced = own_names(folder) + (
            [] if old is None else folders(old.formats)
        )
        # From here on it is known what is ours in both folders.
        path = storage.join(partial, _MOVES)
        plan = json.dumps({"moves": moves, "replaced": replaced}).encode()
        storage.write_bytes(path + ".part", plan)
        storage.flush(path + ".part")
        storage.rename(path + ".part", path)
        # The old manifest goes first: without it nothing is a data set.
        storage.remove(storage.join(folder, schema.MANIFEST_NAME))
        for name in replaced:
            _remove(storage.join(folder, name))
        for source, target in moves.items():
            storage.rename(
                storage.join(partial, source), storage.join(folder, target)
            )
        storage.flush(folder)


def undo_moves(folder: str) -> None:
    """Takes back what a commit that was killed had done.

    What it had moved goes back, so that it is used again; what is left of the
    data set that it replaced is removed.
    """
    partial = storage.join(folder, PARTIAL)
    path = storage.join(partial, _MOVES)
    if not storage.is_file(path):
        return
    final = storage.join(folder, schema.MANIFEST_NAME)
    if storage.is_file(final):
        written = storage.join(partial, schema.MANIFEST_NAME)
        if not storage.is_file(written) or (
            storage.read_bytes(written) == storage.read_bytes(final)
        ):
            # All was done but the tidying up.
            storage.remove_tree(partial)
    else:
        plan = json.loads(storage.read_bytes(path))
        there = set(storage.names(partial))
        for name in plan["replaced"]:
            # A name of both data sets is the new one's once that has left.
            source = _source_of(name, plan["moves"])
            if source is None or source in there:
                _remove(storage.join(folder, name))
        for source, target in plan["moves"].items():
            place = storage.join(folder, target)
            if source not in there and _exists(place):
                storage.rename(place, storage.join(partial, source))
            elif source in there and storage.is_remote(folder):
                # It may have the copy and the original.
                _remove(place)
    storage.remove(path)


def _source_of(target: str, moves: Mapping[str, str]) -> str | None:
    return next((s for s, t in moves.items() if t == target), None)


def _exists(path: str) -> bool:
    return storage.is_file(path) or storage.is_folder(path)


def _remove(path: str) -> None:
    if storage.is_folder(path):
        storage.remove_tree(path)
    else:
        storage.remove(path)


def _flush(path: str) -> None:
    """Waits until a file, or all files of a folder, are on the disk itself."""
    if not storage.is_folder(path):
        storage.flush(path)
        return
    for parent, _, files in storage.walk(path, storage.raise_error):
        for name in files:
            storage.flush(storage.join(parent, name))
        storage.flush(parent)
