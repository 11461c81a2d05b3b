"""Annotation files of every format, damaged in ways that chance decides."""

from __future__ import annotations

import copy
import json
import pathlib
import random
from collections.abc import Mapping
from typing import Any

from tests.tfrecord_tools import made_dataset

FORMATS = ("aimmo", "coco", "voc", "yolo")

Random = random.Random

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    1.0001,
    7,
    300,
    -(10**400),
    10**400,
    float("nan"),
    float("inf"),
    -float("inf"),
    1e308,
    1e-320,
    "",
    "a",
    "car",
    "1",
    "nan",
    "10*10",
    "a.jpg",
    "b.jpg",
    "../secret.jpg",
    "/etc/passwd",
    "..\\secret.jpg",
    "\ud800",
    "\0",
    "차",
    "x" * 300,
    [],
    [[]],
    [1, 2],
    [[1, 2], [30, 40]],
    [[[1, 2], [30, 40]]],
    {},
    {"a": None},
)

_AIMMO: dict[str, Any] = {
    "filename": "a.jpg",
    "parent_path": "/batch/day/drive/camera",
    "size": "64*48",
    "annotations": [
        *made_dataset.ALL_CLASSES,
        made_dataset.box("x", 1, 1, 2, 2),
    ],
}
_AIMMO_C: dict[str, Any] = {
    "filename": "a.jpg",
    "attributes": {"weather": "sunny"},
    "metadata": {"height": 48, "width": 64},
    "annotations": [
        {
            "id": "1",
            "type": "bbox",
            "label": "car",
            "attributes": {"note": 1},
            "points": [[[1, 2], [30, 2], [30, 40], [1, 40]]],
        },
        {"id": "2", "type": "poly_seg", "label": "bus", "points": [[[1, 2]]]},
    ],
}
_COCO: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "height": 48, "width": 64},
        {"id": 2, "file_name": "b.jpg", "height": 48, "width": 64},
    ],
    "categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "bus"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 20]},
        {"id": 2, "image_id": 1, "category_id": 9, "bbox": [9, 9, 9, 9]},
        {
            "id": 3,
            "image_id": 2,
            "category_id": 9,
            "bbox": [0, 0, 64, 48],
            "iscrowd": 1,
        },
    ],
}
_VOC_OBJECT = (
    "<object><name>car</name><truncated>0</truncated><difficult>1</difficult>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    "</bndbox></object>"
)
_VOC = (
    "<annotation><filename>a.jpg</filename><size><width>64</width>"
    f"<height>48</height></size>{_VOC_OBJECT}"
    f"{_VOC_OBJECT.replace('car', 'bus')}</annotation>"
)
_DOCTYPES = (
    '<!DOCTYPE annotation [<!ENTITY a "an-entity-"><!ENTITY b "&a;expanded">]>',
    '<!DOCTYPE annotation [<!ENTITY b SYSTEM "SECRET_URL">]>',
    '<!DOCTYPE annotation [<!ENTITY % p SYSTEM "SECRET_URL"> %p;]>',
    '<!DOCTYPE annotation SYSTEM "SECRET_URL">',
)
_YOLO_DATA: dict[str, Any] = {
    "path": ".",
    "train": "images",
    "nc": 2,
    "names": ["car", "bus"],
}
_YOLO_LINES = "0 0.5 0.5 0.25 0.25\n1 0.25 0.25 0.5 0.5\n1 .1 .1 .2 .2 .3 .3\n"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Returns every container and key in a nested value."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found


def _mutated(rng: Random, value: Any) -> Any:
    """Returns a copy with up to three values replaced, removed or doubled."""
    top = copy.deepcopy(value)
    for _ in range(rng.randint(0, 3)):
        places = _places(top)
        if not places:
            break
        container, key = rng.choice(places)
        what = rng.randint(0, 3)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(rng.choice(_VALUES))
    return top


def _torn(rng: Random, content: bytes) -> bytes:
    """Returns the content, at times cut off or with a byte changed."""
    what = rng.randint(0, 9)
    if what == 0:
        return content[: rng.randint(0, len(content))]
    if what == 1 and content:
        place = rng.randrange(len(content))
        return content[:place] + rng.randbytes(1) + content[place + 1 :]
    if what == 2:
        return content.decode("utf-8", "replace").encode("utf-16")
    return content


def _text(rng: Random) -> str:
    value = rng.choice([v for v in _VALUES if v not in ("\ud800",)])
    return str(value)[:400]


def _voc(rng: Random, secret: pathlib.Path) -> bytes:
    text = _VOC
    for _ in range(rng.randint(0, 3)):
        what = rng.randint(0, 3)
        pieces = text.split("<")
        place = rng.randrange(1, len(pieces))
        if what == 0:
            del pieces[place]
        elif what == 1:
            pieces.insert(place, pieces[place])
        else:
            tag = pieces[place].partition(">")[0]
            value = rng.choice(["&b;", "&lt;", "<b/>", _text(rng)])
            pieces[place] = f"{tag}>{value}"
        text = "<".join(pieces)
    if rng.randint(0, 3) == 0:
        doctype = rng.choice(_DOCTYPES).replace("SECRET_URL", secret.as_uri())
        text = doctype + text.replace("car", "&b;")
    return text.encode("utf-8", "replace")


def _yolo(rng: Random) -> Mapping[str, bytes]:
    lines = _YOLO_LINES.split(" ")
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(lines))
        lines[place] = rng.choice(["", "\n", "2", "-1", _text(rng)])
    sound = rng.randint(0, 1)
    value = _YOLO_DATA if sound else _mutated(rng, _YOLO_DATA)
    data = json.dumps(value, ensure_ascii=False)  # JSON is YAML, mostly
    if rng.randint(0, 9) == 0:
        data = data.replace("[", "&a [").replace('"."', "*a")
    text = " ".join(lines).encode("utf-8", "replace")
    yaml = data.encode("utf-8", "replace")
    return {
        "labels/a.txt": _torn(rng, text),
        "data.yaml": yaml if sound else _torn(rng, yaml),
    }


def draw(kind: str, rng: Random, secret: pathlib.Path) -> Mapping[str, bytes]:
    """Returns the annotation files of a damaged data set, by path.

    Args:
      kind: the format.
      rng: what decides on the damage.
      secret: a file that must not be read.
    """
    if kind == "yolo":
        return _yolo(rng)
    if kind == "voc":
        return {"a.xml": _torn(rng, _voc(rng, secret))}
    sound = _COCO if kind == "coco" else rng.choice([_AIMMO, _AIMMO_C])
    return {"a.json": _torn(rng, json.dumps(_mutated(rng, sound)).encode())}
