"""Labels for YOLO's tools."""

from __future__ import annotations

from PIL import Image

from tfrecord_tools import images, prepare, stored_files


def _object(label: int, **marks: bool) -> prepare.StoredObject:
    return prepare.StoredObject(
        label=label,
        box=(10.0, 20.0, 30.0, 60.0),
        is_truncated=False,
        is_crowd=marks.get("is_crowd", False),
        is_difficult=marks.get("is_difficult", False),
    )


def test_what_training_leaves_out_has_no_line() -> None:
    photo = images.Photo(image=Image.new("RGB", (100, 50)), kept=None)
    prepared = prepare.Prepared(
        file="a.json",
        image=images.encode(photo, images.KEEP, 95),
        source_size=(50, 100),
        objects=(
            _object(2),
            _object(1, is_crowd=True),
            _object(3, is_difficult=True),
        ),
        filtered={},
        rejected=(),
        num_clipped=0,
    )
    # x 20 to 60 of 100, y 10 to 30 of 50.
    assert stored_files.labels(prepared) == (
        "1 0.400000000 0.400000000 0.400000000 0.400000000\n"
    )
