"""Finds a YOLO data set's text files, images, class names and splits.

The class names are in a YAML file at the top of the folder (data.yaml), under
`names`. An image in a folder called images has its text file at the same place
in the folder labels beside it, else beside itself.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tfrecord_tools import (
    annotation,
    command,
    entries,
    files,
    json_values,
    storage,
    yaml_values,
)

SUFFIXES = (".yaml", ".yml")
_LABEL_SUFFIX = ".txt"
_CLASS_LIST = "classes.txt"  # labelling tools write it beside the labels
_FOLDERS = ("images", "labels")
_SPLITS = ("train", "val")
_NAMES = re.compile(rb"""(?:^|[\s{,])["']?names["']?\s*:""")


def _error(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


def _load(folder: str, path: str) -> dict[Any, Any]:
    """Returns the mapping in a YAML file; empty if it holds something else."""
    try:
        found = yaml_values.load(entries.read_file(folder, path))
    except annotation.AnnotationFault as fault:
        raise _error(
            f"{files.printable(path)}: {fault}. Expected YAML with 'names:', a"
            " list of class names."
        ) from fault
    return found if isinstance(found, dict) else {}


def names_file(folder: str, paths: Iterable[str]) -> str | None:
    """Returns the YAML file with class names at the top of a folder, or None.

    Raises:
      command.UserError: there are several.
    """
    found = [
        path
        for path in paths
        if "/" not in path
        and path.lower().endswith(SUFFIXES)
        and _NAMES.search(_content(folder, path))
    ]
    if len(found) > 1:
        raise _error(
            f"{' and '.join(map(files.printable, found))} all have 'names'. A"
            " YOLO data set has one such file: move the others away."
        )
    return found[0] if found else None


def _content(folder: str, path: str) -> bytes:
    try:
        return entries.read_file(folder, path)
    except annotation.AnnotationFault:
        return b""


def find(
    folder: str, image_folder: str, paths: Sequence[str], images: list[str]
) -> entries.Found:
    """Returns the data set below a folder.

    Args:
      folder: the input folder.
      image_folder: the image folder.
      paths: the files below the input folder.
      images: the images, relative to the image folder.

    Raises:
      command.UserError: the YAML file is missing, wrong, or leads out of the
        folder.
    """
    file = names_file(folder, paths)
    if file is None:
        raise _error(
            f"--input_dir={folder} has no YAML file with 'names' at its top,"
            " such as data.yaml. It is needed for the classes' names: write"
            " one, with a line 'names: [car, truck]'."
        )
    data = _load(folder, file)
    names = _names(file, data)
    splits, lists, absent = _splits(folder, image_folder, file, data, images)
    texts = [p for p in paths if p.lower().endswith(_LABEL_SUFFIX)]
    keys = {_key(image) for image in images}
    labels = [
        p for p in texts if p not in lists and (_is_label(p) or _key(p) in keys)
    ]
    found = entries.Found(
        reading=entries.Reading(format="yolo", folder=folder, names=names),
        entries=[],
        images=images,
        annotations=sorted([file, *lists, *labels]),
        class_names=tuple(names.values()),
        has_splits=bool(splits),
    )
    if len(texts) > len(labels) + len(lists):
        found.facts["not_read"] = sorted(set(texts) - {*labels, *lists})[:20]
    if absent:
        found.facts["listed_but_not_there"] = {
            "count": len(absent),
            "examples": sorted(absent)[:20],
        }
    _pair(found, labels, splits)
    return found


def _names(file: str, data: dict[Any, Any]) -> dict[int, str]:
    value = data.get("names")
    if isinstance(value, list):
        value = dict(enumerate(value))
    if (
        not isinstance(value, dict)
        or not value
        or not all(type(key) is int and key >= 0 for key in value)
    ):
        raise _error(
            f"{file}: 'names' is {annotation.quoted(value)}; expected a list of"
            " class names, or numbers from 0 on with a name each."
        )
    names: dict[int, str] = {}
    for key, name in sorted(value.items()):
        if not json_values.is_text(name) or name in names.values():
            raise _error(
                f"{file}: class {key} is called {annotation.quoted(name)};"
                " expected text that no other class has. A name that YAML"
                " takes for something else (no, 12) needs quotes."
            )
        names[key] = name
    count = data.get("nc", len(names))
    if count != len(names):
        raise _error(
            f"{file}: 'nc' is {annotation.quoted(count)} and there are"
            f" {len(names)} names. Correct one of them."
        )
    return names


def _is_label(path: str) -> bool:
    """Tells whether a text file is a label even if no image fits it."""
    *parents, name = path.split("/")
    return _FOLDERS[1] in parents and name != _CLASS_LIST


def _key(path: str) -> str:
    """Returns what an image and its text file have in common."""
    parts = os.path.splitext(path)[0].split("/")
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in _FOLDERS:
            del parts[index]
            break
    return "/".join(parts)


def _pair(
    found: entries.Found, labels: Sequence[str], splits: dict[str, str]
) -> None:
    """Makes an entry of each image, and of each text file without one."""
    images = collections.defaultdict(list)
    for image in found.images:
        if files.printable(image) == image:
            images[_key(image)].append(image)
    for label in labels:
        members = images.pop(_key(label), [])
        if len(members) == 1:
            entry = entries.Entry(
                file=label, image=members[0], split=splits.get(members[0])
            )
            found.entries.append(entry)
            continue
        fault = annotation.AnnotationFault("image_missing", "no image fits it")
        if members:
            fault = annotation.AnnotationFault(
                "image_ambiguous",
                f"{len(members)} images fit it: {', '.join(members[:3])}",
            )
        found.faults.append((label, fault))
    found.entries.extend(
        entries.Entry(
            file=image, is_absent=True, image=image, split=splits.get(image)
        )
        for members in images.values()
        for image in members
    )


def _splits(
    folder: str,
    image_folder: str,
    file: str,
    data: dict[Any, Any],
    images: Sequence[str],
) -> tuple[dict[str, str], list[str], set[str]]:
    """Returns each image's split, the lists read, and what they miss."""
    if data.get("train") is None:
        return {}, [], set()
    root = _below(folder, file, "path", folder, data.get("path", ""))
    places = {
        image: _absolute(storage.join(image_folder, image)) for image in images
    }
    splits: dict[str, str] = {}
    lists: list[str] = []
    both: set[str] = set()
    absent: set[str] = set()
    for split in _SPLITS:
        values = data.get(split)
        for value in values if isinstance(values, list) else [values]:
            if value is None:
                continue
            place = _below(folder, file, split, root, value)
            wanted = {place}
            if place.lower().endswith(_LABEL_SUFFIX):
                lists.append(place[len(_absolute(folder)) + 1 :])
                wanted = _listed(folder, root, lists[-1])
                absent |= wanted - set(places.values())
            members = [
                image
                for image, path in places.items()
                if path in wanted or _has_parent(path, wanted)
            ]
            if not members:
                raise _error(
                    f"{file}: {split!r} is {annotation.quoted(value)}, where no"
                    " image lies. Correct it, or give --train_list."
                )
            for image in members:
                if splits.setdefault(image, split) != split:
                    both.add(image)
    if both:
        raise entries.in_two_splits(len(both), min(both))
    return splits, lists, absent


def _absolute(path: str) -> str:
    """Returns the path from the top; links stay as they are."""
    return (
        storage.absolute(path)
        if storage.is_remote(path)
        else os.path.abspath(path)
    )


def _has_parent(path: str, wanted: set[str]) -> bool:
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if path in wanted:
            return True
    return False


def _below(folder: str, file: str, key: str, root: str, value: Any) -> str:
    """Returns the absolute path that a value means; raises if it leaves."""
    top = _absolute(folder)
    place = ""
    if isinstance(value, str) and "\0" not in value:
        place = _absolute(storage.join(root, value))
    if place != top and not place.startswith(f"{top}/"):
        raise _error(
            f"{file}: {key!r} is {annotation.quoted(value)}; a path below the"
            " input folder was expected, without '..'. Write it relative to"
            f" the folder of {file}, or give --train_list and --val_list."
        )
    return place


def _listed(folder: str, root: str, path: str) -> set[str]:
    """Returns the absolute paths of the images in a list."""
    try:
        text = entries.read_file(folder, path).decode()
    except (annotation.AnnotationFault, UnicodeDecodeError) as error:
        raise _error(f"{files.printable(path)}: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    return {_below(folder, path, "line", root, line) for line in lines if line}
