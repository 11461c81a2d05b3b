from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import annotation, voc

OBJECT = """<object><name>car</name><pose>Left</pose><truncated>1</truncated>
<occluded>1</occluded><difficult>1</difficult>
<bndbox><xmax>40.5</xmax><xmin>2</xmin><ymin> 3 </ymin><ymax>30</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>
<ymax>2</ymax></bndbox></part></object>"""


def _parse(inner: str) -> annotation.Annotation:
    content = f"<annotation>{inner}</annotation>"
    return voc.parse_bytes(content.encode(), "a.xml")


def test_fields() -> None:
    found = _parse(
        "<folder>VOC2012</folder><filename>a.jpg</filename><source>"
        "<database>x</database></source><size><width>64</width><height>48"
        f"</height><depth>3</depth></size><segmented>0</segmented>{OBJECT}"
    )
    assert found == annotation.Annotation(
        file="a.xml",
        image_name="a.jpg",
        image_size=(48, 64),
        drive=None,
        objects=(
            annotation.Object(
                annotation_id="number 1 in the file",
                class_name="car",
                box=(3.0, 2.0, 30.0, 40.5),
                is_truncated=True,
                is_difficult=True,
                fields={
                    "name": "car",
                    "pose": "Left",
                    "truncated": "1",
                    "occluded": "1",
                    "difficult": "1",
                },
            ),
        ),
        filtered=(),
        rejected=(),
        fields={"folder": "VOC2012", "filename": "a.jpg", "segmented": "0"},
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<xmin>2</xmin>", "", "box_not_numbers"),
        ("<xmin>2<", "<xmin>two<", "box_not_numbers"),
        ("<xmin>2<", "<xmin>nan<", "box_not_finite"),
        ("<xmin>2<", "<xmin>41<", "corners_swapped"),
        ("<name>car<", "<name> <", "no_class"),
        ("bndbox", "box", "no_box"),
        ("<difficult>1<", "<difficult>yes<", "difficult_not_a_number"),
        ("<truncated>1<", "<truncated>?<", "truncated_not_a_number"),
    ],
)
def test_objects_with_faults(old: str, new: str, reason: str) -> None:
    found = _parse(OBJECT.replace(old, new) + OBJECT + OBJECT)
    assert [(r.annotation_id, r.reason) for r in found.rejected] == [
        ("number 1 in the file", reason),
        ("number 3 in the file", "duplicate_object"),
    ]
    assert found.num_objects == 3


def test_polygons_are_left_out() -> None:
    polygon = "<object><name>a</name><polygon><x1>1</x1></polygon></object>"
    assert _parse(polygon).filtered == ("type:polygon",)


BOMB = (
    "<!DOCTYPE annotation [<!ENTITY a 'AAAA'>"
    + "".join(
        f"<!ENTITY {new} '{f'&{old};' * 20}'>"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><annotation><filename>&i;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_xml"),
        (b"<annotation>", "not_xml"),
        (b"<a></a>", "not_an_annotation"),
        (b"<annotation>&who;</annotation>", "not_xml"),
        (
            b"<annotation>%s%s</annotation>" % (b"<a>" * 99, b"</a>" * 99),
            "not_xml",
        ),
        (b"<?xml version='1.0' encoding='klingon'?><annotation/>", "not_xml"),
        (b"<?xml version='1.0' encoding='euc-kr'?><annotation/>", "not_xml"),
        (b"<!DOCTYPE annotation><annotation/>", "xml_has_doctype"),
        (BOMB.encode(), "xml_has_doctype"),
        (BOMB.encode("utf-16"), "xml_has_doctype"),
        (
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
            "xml_has_doctype",
        ),
        (
            b"<annotation><size><width>0</width><height>3</height></size>"
            b"</annotation>",
            "size_not_understood",
        ),
    ],
)
def test_files_with_faults(content: bytes, reason: str) -> None:
    with pytest.raises(annotation.AnnotationFault) as caught:
        voc.parse_bytes(content, "a.xml")
    assert caught.value.reason == reason
    assert "AAAA" not in caught.value.detail


def _devkit(tmp_path: pathlib.Path, **lists: str) -> made_dataset.Dataset:
    """Makes three images in VOC's folders, and its lists."""
    dataset = made_dataset.Dataset(tmp_path)
    root = dataset.input / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number, stem in enumerate("abc"):
        made_dataset.pixels(number).save(root / f"JPEGImages/{stem}.jpg")
        (root / f"Annotations/{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename>{OBJECT}</annotation>"
        )
    for name, text in lists.items():
        (root / f"ImageSets/Main/{name}.txt").write_text(text)
    return dataset


def _images(dataset: made_dataset.Dataset) -> dict[str, int]:
    splits = dataset.manifest().splits
    return {name: split.images for name, split in splits.items()}


def test_lists_of_the_devkit_are_the_split(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = _devkit(
        tmp_path,
        train="a\nnone\n",
        val="b\n",
        trainval="a\nb\n",
        car_train="c  1\n",
        test="c\n",
    )
    assert dataset.convert() == 0
    assert _images(dataset) == {"train": 1, "val": 1}
    manifest = dataset.manifest()
    assert manifest.accounts["images"]["filtered"] == {"not_in_split": 1}
    assert manifest.split_rule == {"rule": "data_set"}
    assert "VOC2007/Annotations/none" in capsys.readouterr().out
    # Flags go before the lists.
    assert dataset.convert("--eval_on_train", "--overwrite") == 0
    assert _images(dataset) == {"train": 3, "val": 3}


def test_trainval_alone_is_trained_on(tmp_path: pathlib.Path) -> None:
    dataset = _devkit(tmp_path, trainval="a\nb\n")
    assert dataset.convert() == 0
    assert _images(dataset) == {"train": 2}


def test_an_image_in_both_lists(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = _devkit(tmp_path, train="a\nb\n", val="b\n")
    assert dataset.convert() == 65
    assert "VOC2007/Annotations/b" in capsys.readouterr().err
