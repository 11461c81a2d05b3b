"""Damaged annotation files: no error escapes, and the accounts add up."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import (
    accounts,
    aimmo,
    annotation,
    label_map,
    planning,
    prepare,
    split,
)

_VALUES = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(-(10**400), 10**400),
    strategies.floats(),
    strategies.text(max_size=4),
    strategies.sampled_from(["../a.jpg", "a.jpg", "10*10", "car", "\ud800"]),
    strategies.lists(strategies.integers(-3, 99), max_size=3),
    strategies.dictionaries(strategies.text(max_size=2), strategies.none()),
)
_SOUND: dict[str, Any] = {
    "filename": "a.jpg",
    "parent_path": "/batch/day/drive/camera",
    "size": "64*48",
    "annotations": [
        *made_dataset.ALL_CLASSES,
        made_dataset.box("x", 1, 1, 2, 2),
    ],
}


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


@strategies.composite
def _damaged(draw: strategies.DrawFn) -> bytes:
    """Draws a file with up to three values replaced or removed, maybe cut."""
    top = copy.deepcopy(_SOUND)
    for _ in range(draw(strategies.integers(0, 3))):
        places = _places(top)
        if not places:
            break
        container, key = draw(strategies.sampled_from(places))
        if draw(strategies.booleans()):
            container[key] = draw(_VALUES)
        else:
            del container[key]
    content = json.dumps(top).encode()
    if draw(strategies.integers(0, 9)) == 0:
        content = content[: draw(strategies.integers(0, len(content)))]
    return content


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(_damaged())
def test_parsed_objects_add_up(content: bytes) -> None:
    try:
        parsed = aimmo.parse_bytes(content, "a.json")
    except annotation.AnnotationFault:
        return
    items = json.loads(content)["annotations"] or []
    assert parsed.num_objects == len(items)
    for item in parsed.objects:
        y_min, x_min, y_max, x_max = item.box
        assert y_min <= y_max
        assert x_min <= x_max
    # What is printed and written must be text that any file can hold.
    json.dumps([vars(r) for r in parsed.rejected]).encode()
    "".join(o.class_name for o in parsed.objects).encode()
    "".join(parsed.filtered).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("mutations")
    made_dataset.pixels(0).save(path / "a.jpg")
    return path


def _options(folder: pathlib.Path) -> planning.Options:
    return planning.Options(
        input_dir=str(folder),
        image_dir=str(folder),
        output_dir=str(folder / "out"),
        labels=label_map.make_label_map(["car", "truck", "bus"], []),
        image_size=None,
        choice=split.Choice(
            train_list=None,
            val_list=None,
            val_fraction=None,
            eval_on_train=False,
            seed=0,
        ),
        num_shards=None,
        max_rejects=1.0,
        allow_empty_classes=True,
        num_workers=1,
        overwrite=False,
        jpeg_quality=95,
        max_pixels=10_000,
        resize="stretch",
        image_format="keep",
        formats=("tfrecord",),
        engine="local",
        beam_args=(),
    )


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(_damaged())
def test_planned_and_prepared_objects_add_up(
    folder: pathlib.Path, content: bytes
) -> None:
    (folder / "a.json").write_bytes(content)
    options = _options(folder)
    images, objects = accounts.Account(), accounts.Account()
    usable = planning.pair(options, planning.find(options), images, objects)
    for image, summary in usable.items():
        settings = prepare.Settings(
            labels=options.labels,
            image_size=(10, 10),
            resize="stretch",
            image_format="keep",
            jpeg_quality=95,
            max_pixels=10_000,
        )
        task = prepare.Task(
            file=summary.file,
            annotation_path=str(folder / summary.file),
            checksum=summary.checksum,
            image_path=str(folder / image),
        )
        result = prepare.prepare(settings, task)
        if isinstance(result, prepare.Rejected):
            planning.reject_image(images, result)
            objects.rejected["image_rejected"] += summary.num_objects
            continue
        images.written += 1
        objects.written += len(result.objects)
        objects.filtered.update(result.filtered)
        objects.rejected.update(r.reason for r in result.rejected)
        for item in result.objects:
            y_min, x_min, y_max, x_max = item.box
            assert 0 <= y_min < y_max <= 10
            assert 0 <= x_min < x_max <= 10
            assert 1 <= item.label <= 3
    assert images.num_in == 1
    images.check("images")
    objects.check("objects")
