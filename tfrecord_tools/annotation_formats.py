"""The annotation formats: which one a folder holds, and how each is read.

All else works with entries and Annotations and knows no format by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tfrecord_tools import (
    aimmo,
    annotation,
    coco,
    coco_folder,
    command,
    coordinates,
    entries,
    files,
    label_map,
    storage,
    voc,
    yolo,
    yolo_folder,
)

AUTO = "auto"
AIMMO, COCO, VOC, YOLO = "aimmo", "coco", "voc", "yolo"
ALL = (AIMMO, COCO, VOC, YOLO)

# What each format says of its boxes; AIMMO's variants differ.
RULES: Mapping[str, str] = {
    AIMMO: coordinates.AUTO,
    COCO: coordinates.PIXELS,
    VOC: coordinates.PIXELS_FROM_1,
    YOLO: coordinates.NORMALISED,
}
MAPPINGS: Mapping[str, Mapping[str, str]] = {AIMMO: label_map.AIMMO_MAPPING}
# Classes where --classes is not given; elsewhere all names of the data set.
CLASSES: Mapping[str, tuple[str, ...]] = {
    AIMMO: ("car", "truck", "bus", "pedestrian")
}
ORDERS: Mapping[str, str] = {
    COCO: "by category id, file after file",
    VOC: "by alphabet",
    YOLO: "by number",
}
# Formats whose annotation files bear their image's name.
NAMED_LIKE_IMAGES = (AIMMO, VOC)

_JSON, _XML, _TXT = ".json", ".xml", ".txt"
_SUFFIXES = frozenset([_JSON, _XML, _TXT, *yolo_folder.SUFFIXES])
_NUM_SNIFFED = 50  # files of a kind; a stray one is rejected when it is read
_SNIFFED_BYTES = 1 << 16
_COCO_SIGNS = (b'"categories"', b'"images"')


def find(
    wanted: str,
    input_dir: str,
    image_dir: str,
    output_dir: str,
    aside: str,
) -> entries.Found:
    """Returns a data set's annotations and images.

    Args:
      wanted: the format's name, or AUTO.
      input_dir: the folder with the annotations.
      image_dir: the folder with the images.
      output_dir: a folder not to look into.
      aside: a folder for what is set aside; need not exist.

    Raises:
      command.UserError: no format fits, several do, or there is nothing.
    """
    folder = input_dir
    paths, images = files.find(folder, output_dir, _SUFFIXES)
    if image_dir != input_dir:
        _, images = files.find(image_dir, output_dir, frozenset())
    why = "--format"
    if wanted == AUTO:
        wanted, why = guess(folder, paths)
    print(f"format: {wanted} ({why})", flush=True)
    if wanted == COCO:
        found = coco_folder.find(folder, paths, images, aside)
    elif wanted == VOC:
        found = voc.find(folder, paths, images)
    elif wanted == YOLO:
        found = yolo_folder.find(folder, image_dir, paths, images)
    else:
        names = [path for path in paths if _suffix(path) == _JSON]
        found = entries.Found(
            reading=entries.Reading(format=AIMMO, folder=folder),
            entries=[entries.Entry(file=name) for name in names],
            images=images,
            annotations=names,
        )
    if not found.entries and not found.faults:
        raise _none_found(folder, wanted)
    found.facts.update({"format": wanted, "format_from": why})
    for key in ("not_read", "listed_but_not_there"):
        if key in found.facts:
            print(f"warning: {key}: {found.facts[key]}", flush=True)
    return found


def _none_found(folder: str, wanted: str) -> command.UserError:
    expected = {
        AIMMO: "AIMMO's JSON files (*.json), one per image",
        COCO: "COCO's JSON files (*.json) with images in them",
        VOC: "Pascal VOC's XML files (*.xml), one per image",
        YOLO: "images, and YOLO's text files (*.txt)",
    }
    return command.UserError(
        command.ExitCode.DATA,
        f"--input_dir={folder} holds no annotation file of format {wanted}, nor"
        f" do its folders. Expected {expected[wanted]}.",
    )


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def guess(folder: str, paths: Sequence[str]) -> tuple[str, str]:
    """Returns the format of a folder and what shows it.

    Args:
      folder: the input folder.
      paths: the files below it.

    Raises:
      command.UserError: nothing shows a format, or several are shown.
    """
    shown: dict[str, str] = {}
    names = yolo_folder.names_file(folder, paths)
    if names is not None:
        shown[YOLO] = f"{files.printable(names)} has class names"
    for path in _some(paths, _XML):
        if b"<annotation" in _ends(folder, path):
            shown.setdefault(VOC, f"{files.printable(path)} is an <annotation>")
    for path in _some(paths, _JSON):
        content = _ends(folder, path)
        if all(sign in content for sign in _COCO_SIGNS):
            shown.setdefault(
                COCO, f"{files.printable(path)} has images and categories"
            )
        else:
            shown.setdefault(
                AIMMO, f"{files.printable(path)} is JSON and not COCO's"
            )
    if len(shown) == 1:
        return next(iter(shown.items()))
    if not shown:
        raise command.UserError(
            command.ExitCode.DATA,
            f"--input_dir={folder} holds no annotation file (*.json, *.xml,"
            " data.yaml), nor do its folders. Expected AIMMO's or COCO's JSON"
            " files, Pascal VOC's XML files, or a YOLO data set.",
        )
    reasons = "; ".join(f"{name}: {why}" for name, why in shown.items())
    raise command.UserError(
        command.ExitCode.USAGE,
        f"--input_dir={folder} may be {' or '.join(shown)} ({reasons}). Say"
        f" which with --format={' or --format='.join(shown)}.",
    )


def _some(paths: Sequence[str], suffix: str) -> list[str]:
    found = [path for path in paths if _suffix(path) == suffix]
    return found[:: max(1, len(found) // _NUM_SNIFFED)]


def _ends(folder: str, path: str) -> bytes:
    """Returns a file's beginning and end; nothing if it is not readable."""
    if files.fault(folder, path) is not None:
        return b""
    full = storage.join(folder, path)
    try:
        size, _ = storage.status(full)
        start = storage.read_range(full, 0, _SNIFFED_BYTES)
        rest = max(len(start), size - _SNIFFED_BYTES)
        return start + storage.read_range(full, rest, _SNIFFED_BYTES)
    except OSError:
        return b""


def parse(
    reading: entries.Reading, entry: entries.Entry, content: bytes
) -> annotation.Annotation:
    """Returns what an entry with this content says.

    Raises:
      annotation.AnnotationFault: the content is of no use.
    """
    if reading.format == COCO:
        return coco.parse_bytes(content, entry.file)
    if reading.format == VOC:
        return voc.parse_bytes(content, entry.file)
    if reading.format == YOLO:
        return yolo.parse_bytes(content, entry.file, reading.names)
    return aimmo.parse_bytes(content, entry.file)
