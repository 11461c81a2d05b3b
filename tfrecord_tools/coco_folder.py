"""Reads COCO's JSON files, which hold many images each, and sets images aside.

A file is read once, in one process, and what it says of each image is written
as a line of its own, which workers read one at a time. Reading takes memory for
the file's bytes and text at once, twice the file's size, and some 0.6 kB for
each image and annotation; polygons, key points and the like are dropped while
reading. (Measured: 90 MB with 20,000 images and 140,000 annotations take 274
MB.) A worker holds one image's line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable
from typing import Any

from tfrecord_tools import (
    annotation,
    coco,
    entries,
    files,
    json_values,
    storage,
)

SUFFIX = ".json"
_DROPPED = frozenset(["segmentation", "keypoints", "segments_info", "caption"])
# COCO's own downloads hold these beside the boxes, of the same images.
_BOX_FILE = "instances_"
_SPLIT = re.compile(r"(?<![a-z])(train|val|test)(?![a-z])")


def find(
    folder: str, paths: Iterable[str], images: list[str], aside: str
) -> entries.Found:
    """Reads the COCO files below a folder and sets each image's part aside.

    Where files are called instances_*.json, as in COCO's own downloads, the
    others are not read. Where each name has the word train, val or test, that
    is the split.

    Args:
      folder: the input folder.
      paths: the files below it.
      images: the images, relative to the image folder.
      aside: the folder for the lines; made if it is missing.
    """
    names = [path for path in paths if path.lower().endswith(SUFFIX)]
    boxes = [p for p in names if os.path.basename(p).startswith(_BOX_FILE)]
    read = boxes or names
    splits = {path: _split(path) for path in read}
    has_splits = None not in splits.values() and "train" in splits.values()
    class_names: dict[str, None] = {}
    found = entries.Found(
        reading=entries.Reading(format="coco", folder=folder),
        entries=[],
        images=images,
        annotations=sorted(names),
        has_splits=has_splits,
    )
    if len(read) < len(names):
        found.facts["not_read"] = sorted(set(names) - set(read))
    storage.make_folder(aside)
    for number, path in enumerate(read):
        spool = storage.join(aside, f"{number}.jsonl")
        try:
            content = entries.read_file(folder, path)
            top = json_values.load(content, _dropping)
            del content
            categories = _categories(top)
            split = splits[path] if has_splits else None
            _set_aside(found, path, top, spool, categories, split)
        except annotation.AnnotationFault as fault:
            found.faults.append((path, fault))
            continue
        class_names.update(dict.fromkeys(_sound_names(categories)))
    return dataclasses.replace(found, class_names=tuple(class_names))


def _dropping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key not in _DROPPED}


def _split(path: str) -> str | None:
    words = set(_SPLIT.findall(os.path.basename(path).lower()))
    return words.pop() if len(words) == 1 else None


def _list(top: dict[str, Any], key: str) -> list[Any]:
    value = top.get(key)
    if not isinstance(value, list):
        raise annotation.AnnotationFault(
            f"{key}_not_a_list",
            f"{key!r} is {json_values.kind(value)}, a list was expected as in"
            " every COCO file",
        )
    return value


def _key(value: Any) -> int | float | str | None:
    """Returns an id that can be looked up; None for what is no id."""
    return value if type(value) in (int, float, str) else None


Categories = dict[int | float | str | None, tuple[str, ...]]


def _categories(top: dict[str, Any]) -> Categories:
    """Returns by id the name alone, or the fault's reason and detail."""
    found: Categories = {}
    by_name: dict[str, Any] = {}
    records = [c for c in _list(top, "categories") if isinstance(c, dict)]
    # Ids of several types have no order but the file's.
    with contextlib.suppress(KeyError, TypeError):
        records.sort(key=lambda record: record["id"])
    for record in records:
        key, name = _key(record.get("id")), record.get("name")
        if key is None:
            continue
        if not json_values.is_text(name):
            found[key] = (
                "no_class",
                f"category {annotation.quoted(key)} is called"
                f" {annotation.quoted(name)}",
            )
        elif key in found:
            found[key] = (
                "duplicate_category_id",
                f"several categories have the id {annotation.quoted(key)}",
            )
        elif name in by_name:
            found[key] = (
                "duplicate_category_name",
                f"categories {annotation.quoted(by_name[name])} and"
                f" {annotation.quoted(key)} are both called"
                f" {annotation.quoted(name)}",
            )
        else:
            found[key] = (name,)
            by_name[name] = key
    return found


def _sound_names(categories: Categories) -> list[str]:
    return [entry[0] for entry in categories.values() if len(entry) == 1]


def _set_aside(
    found: entries.Found,
    path: str,
    top: dict[str, Any],
    spool: str,
    categories: Categories,
    split: str | None,
) -> None:
    """Writes one line for each image; what is of no use goes to the accounts.

    The file's images and annotations are emptied on the way.
    """
    images, items = _list(top, "images"), _list(top, "annotations")
    by_image: dict[int | float | str | None, list[dict[str, Any]]] = {}
    counts: dict[int | float | str | None, int] = {}
    for image in images:
        key = _key(image.get("id")) if isinstance(image, dict) else None
        counts[key] = counts.get(key, 0) + 1
    for index, item in enumerate(items):
        reason, detail = _loose_reason(item, counts)
        if reason:
            shown = {"file": files.printable(path), "detail": detail}
            shown["annotation_id"] = coco.annotation_id(item, index)
            found.loose.num_in += 1
            found.loose.reject(reason, shown)
            continue
        _name_class(item, categories)
        by_image.setdefault(_key(item["image_id"]), []).append(item)
    items.clear()
    lines: list[bytes] = []
    offset = 0
    for number, image in enumerate(images, start=1):
        key = _key(image.get("id")) if isinstance(image, dict) else None
        label = f"{path}, image {number} in the list"
        if key is None:
            fault = annotation.AnnotationFault(
                "no_image_id", "an object with an 'id' was expected"
            )
            found.faults.append((label, fault))
            continue
        if counts[key] > 1:
            fault = annotation.AnnotationFault(
                "duplicate_image_id",
                f"{counts[key]} images have the id"
                f" {annotation.quoted(key)}: which one its annotations"
                " belong to cannot be told",
            )
            found.faults.append((label, fault))
            continue
        line = {"image": image, "annotations": by_image.pop(key, [])}
        content = json.dumps(line).encode()
        lines.append(content + b"\n")
        found.entries.append(
            entries.Entry(
                file=f"{path}, image {annotation.quoted(key)}",
                aside=(spool, offset, len(content)),
                split=split,
            )
        )
        offset += len(content) + 1
    storage.write_bytes(spool, b"".join(lines))


def _loose_reason(
    item: Any, counts: dict[int | float | str | None, int]
) -> tuple[str, str]:
    """Returns why an annotation belongs to no image, or ""; and details."""
    if not isinstance(item, dict):
        return (
            "object_not_a_record",
            f"an object was expected, not {json_values.kind(item)}",
        )
    key = _key(item.get("image_id"))
    detail = f"'image_id' is {annotation.quoted(item.get('image_id'))}"
    if key is None or key not in counts:
        return "unknown_image", detail
    return ("image_rejected" if counts[key] > 1 else ""), detail


def _name_class(item: dict[str, Any], categories: Categories) -> None:
    """Adds the class's name to an annotation, or what is wrong with it."""
    category = _key(item.get("category_id"))
    entry = categories.get(category) if category is not None else None
    item.pop(coco.FAULT, None)
    if entry is None:
        item[coco.FAULT] = (
            "unknown_category",
            f"'category_id' is {annotation.quoted(item.get('category_id'))}",
        )
    elif len(entry) == 1:
        item[coco.CLASS] = entry[0]
    else:
        item[coco.FAULT] = entry
