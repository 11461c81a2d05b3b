"""The keys of a record and the fields of a data set's manifest.

Standard library only: the detector imports this module and few others of
tfrecord_tools.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

FORMAT_VERSION = 1
MANIFEST_NAME = "dataset.json"
REPORT_NAME = "report.html"

# The keys that the official EfficientDet's tools write and read.
ENCODED = "image/encoded"
FORMAT = "image/format"
FILENAME = "image/filename"
HEIGHT = "image/height"
WIDTH = "image/width"
SOURCE_ID = "image/source_id"
SHA256 = "image/key/sha256"
YMIN = "image/object/bbox/ymin"
XMIN = "image/object/bbox/xmin"
YMAX = "image/object/bbox/ymax"
XMAX = "image/object/bbox/xmax"
LABEL = "image/object/class/label"
TEXT = "image/object/class/text"
AREA = "image/object/area"
IS_CROWD = "image/object/is_crowd"
DIFFICULT = "image/object/difficult"
TRUNCATED = "image/object/truncated"


class ManifestError(ValueError):
    """A manifest that cannot be read as this version of the format."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of records."""

    name: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """One part of the data set: train, val or test."""

    images: int
    objects: dict[str, int]  # per class name, every class of the data set
    max_boxes_per_image: int
    shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a conversion wrote, and what became of all that went in.

    `accounts` holds, for "images" and "objects", the counts "in", "written",
    "filtered" (by reason: left out on purpose) and "rejected" (by reason:
    faults); in = written + filtered + rejected. `rejects` gives up to 20
    examples for each reason. `image_size` is (height, width), or None where
    images keep their own. `source` says what the annotations are: their
    "format", files per variant, the boxes' "coordinates" and why. `resize` says
    how images were brought to their size: "mode", and for "letterbox" the
    "position" and "fill", and in "content" the size that images of each size
    have within it (the most frequent ones). `formats` says what was written,
    `checksums` has the SHA-256 of what is no shard; for a folder, one over
    those of its files. `selection` says what was there before and after filters
    and --max_images.
    """

    classes: tuple[str, ...]
    image_size: tuple[int, int] | None
    splits: dict[str, Split]
    accounts: dict[str, Any]
    rejects: dict[str, Any]
    filters: dict[str, Any]
    mapping: dict[str, str]
    split_rule: dict[str, Any]
    arguments: dict[str, Any]
    source: dict[str, Any] = dataclasses.field(default_factory=dict)
    selection: dict[str, Any] = dataclasses.field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    formats: tuple[str, ...] = ("tfrecord",)
    resize: dict[str, Any] | None = None
    checksums: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hex digest that is equal for equal classes and shards' contents."""
        parts = [self.format_version, self.classes]
        for name in sorted(self.splits):
            shards = self.splits[name].shards
            parts.append([name, [(s.name, s.sha256) for s in shards]])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """Returns the manifest as the text of dataset.json."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def parse_manifest(text: str, source: str) -> Manifest:
    """Returns the manifest in the text of a dataset.json.

    Args:
      text: the file's content.
      source: the file's name, for messages.

    Raises:
      ManifestError: the text is not a manifest of this format version.
    """
    try:
        values = json.loads(text)
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise ManifestError(
                f"{source} has format version {version!r}, this version of the"
                f" tools reads {FORMAT_VERSION}. Convert the annotations again."
            )
        splits = {
            name: Split(
                **{
                    **s,
                    "shards": tuple(Shard(**shard) for shard in s["shards"]),
                }
            )
            for name, s in values["splits"].items()
        }
        size = values["image_size"]
        return Manifest(
            **{
                **values,
                "classes": tuple(values["classes"]),
                "image_size": None if size is None else (size[0], size[1]),
                "formats": tuple(values.get("formats", ("tfrecord",))),
                "splits": splits,
            }
        )
    except (
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ValueError,
    ) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(
            f"{source} is not a data set's manifest ({type(error).__name__}:"
            f" {error}). Convert the annotations again."
        ) from error
