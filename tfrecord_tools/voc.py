"""Reads Pascal VOC's annotations: one XML per image.

A document type declaration is refused: VOC has none, and it is where entities
come from that name other files or grow without bounds.
"""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from tfrecord_tools import annotation, entries

SUFFIX = ".xml"
_ROOT_TAG = "annotation"
_MOST_DEPTH = 16  # VOC has 4 levels
_CORNERS = ("ymin", "xmin", "ymax", "xmax")
# VOC's lists of all classes; others, as car_train.txt, are of one class.
_LISTS = {"train.txt": "train", "val.txt": "val", "trainval.txt": "trainval"}


class _Builder(ET.TreeBuilder):
    """Builds the tree of a file without a document type declaration."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuses the file; the parser calls this before any entity."""
        del pubid, system
        raise annotation.AnnotationFault(
            "xml_has_doctype",
            f"<!DOCTYPE {annotation.quoted(name).strip(chr(39))}> is refused:"
            " it can define entities, and VOC's files have none",
        )

    def start(self, tag: str, attrs: dict[str, str]) -> ET.Element:
        """Opens an element."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise annotation.AnnotationFault(
                "not_xml", "elements are nested too deeply"
            )
        return super().start(tag, attrs)

    def end(self, tag: str) -> ET.Element:
        """Closes an element."""
        self._depth -= 1
        return super().end(tag)


def parse_bytes(content: bytes, path: str) -> annotation.Annotation:
    """Returns what an XML file with this content says.

    Args:
      content: the file's bytes.
      path: the file, kept in the result.

    Raises:
      annotation.AnnotationFault: the content is of no use.
    """
    root = _load(content)
    found = annotation.collect(
        (
            (f"number {number} in the file", item)
            for number, item in enumerate(root.findall("object"), start=1)
        ),
        _read_object,
    )
    return annotation.Annotation(
        file=path,
        image_name=_text(root, "filename") or None,
        image_size=_image_size(root),
        drive=None,
        objects=found.objects,
        filtered=found.filtered,
        rejected=found.rejected,
        fields=_fields(root),
    )


def _load(content: bytes) -> ET.Element:
    parser = ET.XMLParser(target=_Builder())
    try:
        parser.feed(content)
        root = parser.close()
    except ET.ParseError as error:
        raise annotation.AnnotationFault("not_xml", str(error)) from error
    except (LookupError, ValueError) as error:  # encodings
        if isinstance(error, annotation.AnnotationFault):
            raise
        raise annotation.AnnotationFault("not_xml", str(error)) from error
    if not isinstance(root, ET.Element) or root.tag != _ROOT_TAG:
        tag = root.tag if isinstance(root, ET.Element) else ""
        raise annotation.AnnotationFault(
            "not_an_annotation",
            f"<{_ROOT_TAG}> was expected, the file holds"
            f" {annotation.quoted(tag)}",
        )
    return root


def _text(element: ET.Element, tag: str) -> str:
    """Returns a child's text without space around it; "" where it is absent."""
    return (element.findtext(tag) or "").strip()


def _fields(element: ET.Element) -> dict[str, str]:
    return {
        child.tag: (child.text or "").strip()
        for child in element
        if len(child) == 0
    }


def _image_size(root: ET.Element) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    sides = (_text(size, "height"), _text(size, "width"))
    if not all(re.fullmatch(r"0*[1-9][0-9]{0,6}", side) for side in sides):
        raise annotation.AnnotationFault(
            "size_not_understood",
            f"<size> has height {annotation.quoted(sides[0])} and width"
            f" {annotation.quoted(sides[1])}, whole numbers above 0 were"
            " expected",
        )
    return int(sides[0]), int(sides[1])


def _read_object(
    item: ET.Element, annotation_id: str
) -> annotation.Object | str:
    """Returns an object, or why it is left out on purpose."""
    box = item.find("bndbox")
    if box is None and item.find("polygon") is not None:
        return "type:polygon"
    name = _text(item, "name")
    if not name:
        raise annotation.ObjectFault("no_class", "there is no <name>")
    if box is None:
        raise annotation.ObjectFault("no_box", "there is no <bndbox>")
    return annotation.Object(
        annotation_id=annotation_id,
        class_name=name,
        box=_parse_box(box),
        is_truncated=_flag(item, "truncated"),
        is_difficult=_flag(item, "difficult"),
        fields=_fields(item),
    )


def _flag(item: ET.Element, tag: str) -> bool:
    text = _text(item, tag)
    if text not in ("", "0", "1"):
        raise annotation.ObjectFault(
            f"{tag}_not_a_number",
            f"<{tag}> is {annotation.quoted(text)}, 0 or 1 was expected",
        )
    return text == "1"


def _parse_box(box: ET.Element) -> tuple[float, float, float, float]:
    """Returns ymin, xmin, ymax, xmax as they stand in the file."""
    values = []
    for tag in _CORNERS:
        text = _text(box, tag)
        try:
            value = float(text)
        except ValueError as error:
            raise annotation.ObjectFault(
                "box_not_numbers",
                f"<{tag}> is {annotation.quoted(text)}, a number was expected",
            ) from error
        if not math.isfinite(value):
            raise annotation.ObjectFault(
                "box_not_finite", f"<{tag}> is {annotation.quoted(text)}"
            )
        values.append(value)
    y0, x0, y1, x1 = values
    if y0 > y1 or x0 > x1:
        raise annotation.ObjectFault(
            "corners_swapped",
            f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}: a maximum is below its"
            " minimum",
        )
    return y0, x0, y1, x1


def find(folder: str, paths: Iterable[str], images: list[str]) -> entries.Found:
    """Returns the XML files below a folder, and the splits of VOC's lists.

    ImageSets/Main/train.txt and val.txt, or trainval.txt where there is no
    train.txt, name what lies in Annotations beside ImageSets.

    Args:
      folder: the input folder.
      paths: the files below it.
      images: the images, relative to the image folder.
    """
    xmls = [path for path in paths if path.lower().endswith(SUFFIX)]
    lists = [path for path in paths if _list_root(path) is not None]
    found = entries.Found(
        reading=entries.Reading(format="voc", folder=folder),
        entries=[],
        images=images,
        annotations=sorted([*xmls, *lists]),
        has_splits=bool(lists),
    )
    splits = _splits(found, lists)
    for path in xmls:
        stem = os.path.splitext(path)[0]
        named = splits.pop(stem, None)
        found.entries.append(entries.Entry(file=path, split=named))
    if splits:
        found.facts["listed_but_not_there"] = {
            "count": len(splits),
            "examples": sorted(splits)[:20],
        }
    return found


def _list_root(path: str) -> str | None:
    """Returns the folder that a list of ImageSets/Main is about, or None."""
    parts = path.split("/")
    if parts[-3:-1] != ["ImageSets", "Main"] or parts[-1] not in _LISTS:
        return None
    return "/".join(parts[:-3])


def _splits(found: entries.Found, lists: list[str]) -> dict[str, str]:
    """Returns the split of each listed annotation, by path without suffix."""
    splits: dict[str, str] = {}
    both = set()
    roots_with_train = {
        _list_root(path) for path in lists if path.endswith("/train.txt")
    }
    for path in lists:
        root = _list_root(path)
        split = _LISTS[os.path.basename(path)]
        if split == "trainval":
            if root in roots_with_train:
                continue
            split = "train"
        try:
            text = entries.read_file(found.reading.folder, path).decode()
        except UnicodeDecodeError as error:
            fault = annotation.AnnotationFault("list_not_text", str(error))
            found.faults.append((path, fault))
            continue
        except annotation.AnnotationFault as fault:
            found.faults.append((path, fault))
            continue
        for line in text.splitlines():
            if not line.strip():
                continue
            name = line.split()[0]
            key = f"{root}/Annotations/{name}".lstrip("/")
            if splits.setdefault(key, split) != split:
                both.add(key)
    if both:
        raise entries.in_two_splits(len(both), min(both))
    return splits
