"""What a conversion can write."""

from __future__ import annotations

from typing import Final

RECORDS: Final = "tfrecord"
COCO: Final = "coco"
YOLO: Final = "yolo"
# The boxes alone, as COCO JSON: what merge writes.
BOXES: Final = "boxes"

# What can be asked for by name.
FORMATS: Final = (RECORDS, COCO, YOLO)
WITH_JSON: Final = frozenset([RECORDS, COCO, BOXES])
WITH_IMAGES: Final = frozenset([COCO, YOLO])

IMAGES_FOLDER: Final = "images"
LABELS_FOLDER: Final = "labels"
YOLO_NAME: Final = "data.yaml"
