"""Pictures on the report's page: faults, objects as stored, pairs."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfrecord_tools import (
    page_data,
    page_html,
    page_pictures,
    reading,
    record_exam,
    schema,
)

NUM_SAMPLES = 12  # objects of each class on the contact sheet
NEAR_DUPLICATES = "near_duplicates"  # in the manifest's split rule
_MOST_REJECTS = 6  # examples of each reason with a picture
_MOST_PAIRS = 12


def rejects(
    manifest: schema.Manifest, image_dir: str, max_pixels: int
) -> Iterator[str]:
    """Yields the rejected images and objects, by reason, with pictures.

    Args:
      manifest: names them and says what was wrong.
      image_dir: the folder of the images that went in.
      max_pixels: larger images are not decoded.
    """
    for what, reasons in manifest.rejects.items():
        for reason, examples in reasons.items():
            number = manifest.accounts[what]["rejected"].get(reason, 0)
            title = f"Rejected {what}: {reason} ({number})"
            yield f"<h3>{page_html.text(title)}</h3>"
            yield '<div class="sheet wide">'
            for example in examples[:_MOST_REJECTS]:
                file = example.get("file", "")
                content = page_pictures.source_image(
                    image_dir, example.get("image", file)
                )
                address = None
                if content is not None:
                    address = page_pictures.whole(content, max_pixels)
                lines = [page_html.text(file)]
                if "annotation_id" in example:
                    shown = page_html.text(example["annotation_id"])
                    lines.append(f"annotation {shown}")
                lines.append(page_html.text(example.get("detail", "")))
                yield page_html.picture(
                    address,
                    "<br>".join(lines),
                    "no image found"
                    if content is None
                    else "the image does not decode",
                )
            yield "</div>"


def contact_sheet(
    manifest: schema.Manifest,
    places: Mapping[str, str],
    figures: Mapping[str, page_data.Figures],
    samples: Mapping[int, Sequence[page_data.Sample]],
    max_pixels: int,
) -> Iterator[str]:
    """Yields objects of each class, cut out of the stored images.

    Args:
      manifest: describes the shards.
      places: where each shard is for now, by its name.
      figures: of each split with a COCO JSON.
      samples: the objects to show, by class id.
      max_pixels: larger images are not decoded.
    """
    if not samples or not places:
        return
    yield "<h2>Objects as stored</h2>"
    yield (
        f'<p class="faint">Up to {NUM_SAMPLES} of each class, chosen by'
        " chance, cut out of the stored images.</p>"
    )
    pictures = {}
    for split, found in figures.items():
        wanted = collections.defaultdict(list)
        for sample in (s for of in samples.values() for s in of):
            if sample.split == split:
                wanted[sample.image].append(sample)
        shards = [
            (places[shard.name], shard.records)
            for shard in manifest.splits[split].shards
        ]
        for number, record in page_pictures.records(
            shards, found.image_ids, wanted
        ):
            for sample in wanted[number]:
                pictures[sample] = _pictured(record, sample, max_pixels)
    for label, of in samples.items():
        name = page_html.text(manifest.classes[label - 1])
        yield f'<h3>{name}</h3><div class="sheet">'
        for sample in of:
            address, file = pictures.get(sample, (None, ""))
            width, height = sample.box[2:]
            caption = (
                f"{page_html.text(sample.split)}, {width:.0f} x {height:.0f}"
                f"<br>{page_html.text(file)}"
            )
            yield page_html.picture(address, caption, "no picture")
        yield "</div>"


def _pictured(
    record: bytes, sample: page_data.Sample, max_pixels: int
) -> tuple[str | None, str]:
    """Returns a sample's picture and the image's name."""
    features = reading.features(record) or {}
    found = record_exam.Record(0, "", 0, features)
    if found.source_id != sample.image:
        return None, ""
    _, content = features[schema.ENCODED]
    _, name = features[schema.FILENAME]
    address = page_pictures.detail(content[0], sample.box, max_pixels)
    return address, name[0].decode(errors="backslashreplace")


def near_duplicates(
    manifest: schema.Manifest, image_dir: str, max_pixels: int
) -> Iterator[str]:
    """Yields pairs of images of two splits that look the same, if known.

    Args:
      manifest: names them in its split rule.
      image_dir: the folder of the images that went in.
      max_pixels: larger images are not decoded.
    """
    found = manifest.split_rule.get(NEAR_DUPLICATES)
    if not isinstance(found, dict):
        return
    yield "<h2>Near-duplicates in two splits</h2>"
    pairs = found.get("examples", [])
    number = found.get("pairs", len(pairs))
    distance = page_html.text(found.get("distance", "?"))
    yield f"<p>{number} pairs at a distance of at most {distance} bits.</p>"
    moved = found.get("moved")
    if isinstance(moved, dict):
        shown = page_html.text(
            ", ".join(f"{k} {v}" for k, v in moved.items() if k != "examples")
        )
        yield f"<p>Moved to one side: {shown}.</p>"
    yield '<div class="sheet wide">'
    for pair in pairs[:_MOST_PAIRS]:
        yield from _pair(pair, image_dir, max_pixels)
    yield "</div>"


def _pair(
    pair: Mapping[str, Any], image_dir: str, max_pixels: int
) -> Iterator[str]:
    yield '<div class="pair">'
    for side in ("first", "second"):
        name = str(pair.get(side, ""))
        content = page_pictures.read(image_dir, name)
        address = content and page_pictures.whole(content, max_pixels)
        caption = page_html.text(name)
        if side == "second":
            shown = page_html.text(pair.get("distance", "?"))
            caption += f"<br>distance {shown}"
        yield page_html.picture(address or None, caption, "no image found")
    yield "</div>"
