"""The report of a conversion as one HTML page, pictures included."""

from __future__ import annotations

import collections
import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfrecord_tools import (
    formats,
    page_data,
    page_examples,
    page_html,
    schema,
    storage,
)

_MOST_ROWS = 40  # of drives or cameras
_STAGES = ("found", "filtered", "selected")
# Flags without an effect on what is written.
_NO_EFFECT = {"output_dir", "num_workers", "overwrite", "engine", "beam_args"}
_JOINT = " \\\n    "  # between the lines of a shell's command


def write(
    folder: str,
    manifest: schema.Manifest,
    names: Mapping[str, str],
    image_dir: str,
    max_pixels: int,
    given: Sequence[str],
) -> None:
    """Writes the page beside the files that it describes.

    The same files, manifest and flags give the same bytes. Of shards in an
    object store no objects are shown, as each is a request.

    Args:
      folder: where shards and COCO JSON are, and where the page goes.
      manifest: what they are.
      names: the final names of the files by those that they have in the folder.
      image_dir: the folder of the images that went in, for the rejected ones.
      max_pixels: larger images are not decoded.
      given: the flags of the command; where it writes and what has no effect on
        the files is not shown.
    """
    places = {
        final: storage.join(folder, now)
        for now, final in names.items()
        if not storage.is_remote(folder)
    }
    shards = [s.name for part in manifest.splits.values() for s in part.shards]
    figures, samples = page_data.collect(
        folder, list(manifest.splits), page_examples.NUM_SAMPLES
    )
    body = [
        "<h1>Data set report</h1>",
        f'<p class="faint">identity {manifest.identity[:16]}, format version'
        f" {manifest.format_version}</p>",
        *_warnings(manifest),
        *_classes(manifest),
        *_charts(manifest, figures),
        *_origins(figures),
        *_accounts(manifest),
        *page_examples.rejects(manifest, image_dir, max_pixels),
        *page_examples.contact_sheet(
            manifest,
            {name: places[name] for name in shards if name in places},
            figures,
            samples,
            max_pixels,
        ),
        *_selection(manifest),
        *page_examples.near_duplicates(manifest, image_dir, max_pixels),
        *_details(manifest),
        *_command(manifest, given),
    ]
    content = page_html.page("Data set report", body)
    storage.write_bytes(
        storage.join(folder, schema.REPORT_NAME), content.encode()
    )


def _warnings(manifest: schema.Manifest) -> Iterator[str]:
    for split, part in manifest.splits.items():
        for name, number in part.objects.items():
            if not number:
                yield (
                    '<p class="warn">Split '
                    f"{page_html.text(split)} has no object of class"
                    f" {page_html.text(name)}.</p>"
                )


def _classes(manifest: schema.Manifest) -> Iterator[str]:
    yield "<h2>Classes</h2>"
    splits = manifest.splits
    totals = {
        name: sum(part.objects[name] for part in splits.values())
        for name in manifest.classes
    }
    most = max(1, *totals.values())
    sources = collections.defaultdict(list)
    for source, target in manifest.mapping.items():
        sources[target].append(source)
    rows: list[list[object]] = [
        [
            label,
            name,
            ", ".join(sources[name]),
            *(part.objects[name] for part in splits.values()),
            page_html.bar(totals[name] / most),
        ]
        for label, name in enumerate(manifest.classes, start=1)
    ]
    for title, values in (
        ("images", [part.images for part in splits.values()]),
        ("shards", [len(part.shards) for part in splits.values()]),
        (
            "most objects in an image",
            [p.max_boxes_per_image for p in splits.values()],
        ),
    ):
        rows.append(["", title, "", *values, page_html.Markup("")])
    yield page_html.table(["id", "class", "from", *splits, ""], rows, 3)
    size = manifest.image_size
    yield (
        f"<p>Images of {size[1]} x {size[0]} pixels.</p>"
        if size
        else "<p>Images keep their own size.</p>"
    )


def _labels(edges: Sequence[int], is_count: bool) -> list[str]:
    """Returns what stands under the bars between the edges."""
    if is_count:
        ends = [0, *edges]
        return [
            str(low) if high == low + 1 else f"{low}-{high - 1}"
            for low, high in zip(ends, edges, strict=False)
        ] + [f"{edges[-1]}+"]
    return (
        [f"< {edges[0]}"]
        + [f"{a}-{b}" for a, b in itertools.pairwise(edges)]
        + [f"{edges[-1]}+"]
    )


def _charts(
    manifest: schema.Manifest, figures: Mapping[str, page_data.Figures]
) -> Iterator[str]:
    if not figures:
        return
    yield "<h2>Sizes of boxes</h2>"
    yield (
        '<p class="faint">Root of the area, in pixels of the image as stored,'
        " all splits. COCO calls boxes below 32 small and those from 96 on"
        " large.</p>"
    )
    yield '<div class="row">'
    labels = _labels(page_data.SIZE_EDGES, is_count=False)
    for label, name in enumerate(manifest.classes, start=1):
        counts = [
            found.sizes.get(label, [0] * len(labels))
            for found in figures.values()
        ]
        yield page_html.chart(
            name, labels, [sum(column) for column in zip(*counts, strict=True)]
        )
    yield "</div><h2>Objects in an image</h2>"
    yield '<p class="faint">Number of images by their objects.</p>'
    yield '<div class="row">'
    labels = _labels(page_data.COUNT_EDGES, is_count=True)
    for split, found in figures.items():
        yield page_html.chart(split, labels, found.per_image)
    yield "</div>"


def _origins(figures: Mapping[str, page_data.Figures]) -> Iterator[str]:
    for title, counters in (
        ("camera", {s: f.cameras for s, f in figures.items()}),
        ("drive or folder", {s: f.drives for s, f in figures.items()}),
    ):
        totals: collections.Counter[str] = collections.Counter()
        for counter in counters.values():
            totals.update(counter)
        if not totals:
            continue
        yield f"<h2>Images by {title}</h2>"
        ordered = sorted(totals, key=lambda name: (-totals[name], name))
        most = totals[ordered[0]]
        yield page_html.table(
            [title, *counters, ""],
            [
                [
                    name,
                    *(counter[name] for counter in counters.values()),
                    page_html.bar(totals[name] / most),
                ]
                for name in ordered[:_MOST_ROWS]
            ],
        )
        if len(ordered) > _MOST_ROWS:
            yield f"<p>and {len(ordered) - _MOST_ROWS} more.</p>"


def _accounts(manifest: schema.Manifest) -> Iterator[str]:
    yield "<h2>What became of what went in</h2>"
    yield '<div class="row">'
    for what, account in manifest.accounts.items():
        rows: list[list[object]] = [["in", account["in"]]]
        rows.append(["written", account["written"]])
        for kind, title in (
            ("filtered", "left out"),
            ("rejected", "rejected"),
        ):
            rows += [
                [f"{title}: {reason}", number]
                for reason, number in account[kind].items()
            ]
        if account.get("clipped"):
            title = "of the written: cut at the image's edge"
            rows.append([title, account["clipped"]])
        yield "<figure>" + page_html.table([what, ""], rows) + "</figure>"
    yield "</div>"


def _selection(manifest: schema.Manifest) -> Iterator[str]:
    """Shows what there was before and after the filters, if there were any."""
    selection = getattr(manifest, "selection", {})
    stages = [
        stage for stage in _STAGES if isinstance(selection.get(stage), dict)
    ]
    if not stages:
        return
    yield "<h2>Selection</h2>"
    counts: dict[str, dict[str, int]] = {}
    for stage in stages:
        for what, found in selection[stage].items():
            named = found if isinstance(found, dict) else {"": found}
            for name, number in named.items():
                title = f"{what}: {name}" if name else what
                counts.setdefault(title, {})[stage] = number
    yield page_html.table(
        ["", *stages],
        [
            [title, *(numbers.get(stage, 0) for stage in stages)]
            for title, numbers in counts.items()
        ],
    )
    others = {k: v for k, v in selection.items() if k not in stages and v}
    if others:
        yield page_html.table(
            ["", ""], [[k, _short(v)] for k, v in others.items()], 2
        )


def _details(manifest: schema.Manifest) -> Iterator[str]:
    """Shows the manifest's other fields, whatever a conversion put there."""
    yield "<h2>Source, split and filters</h2>"
    for title in ("source", "split_rule", "filters", "resize"):
        value = getattr(manifest, title, None)
        if value:
            yield f"<h3>{page_html.text(title.replace('_', ' '))}</h3>"
            yield page_html.table(
                ["", ""],
                [
                    [k, _short(v)]
                    for k, v in value.items()
                    if k != page_examples.NEAR_DUPLICATES
                ],
                2,
            )


def _short(value: Any) -> str:
    """Returns a value as text; of a long list the beginning."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        more = len(value) - _MOST_ROWS
        shown = ", ".join(map(_short, value[:_MOST_ROWS]))
        return shown + (f" and {more} more" if more > 0 else "")
    return str(value)


def _command(manifest: schema.Manifest, given: Sequence[str]) -> Iterator[str]:
    yield "<h2>Command</h2>"
    name = "merge" if formats.BOXES in manifest.formats else "convert"
    lines = [f"python -m tfrecord_tools.{name}"]
    for flag in given:
        if flag.lstrip("-").split("=")[0] not in _NO_EFFECT:
            lines.append(shlex.quote(flag))
    lines.append("--output_dir=OUT")
    yield f"<pre>{_JOINT.join(map(page_html.text, lines))}</pre>"
    yield page_html.table(
        ["argument", "value"],
        [[key, _short(value)] for key, value in manifest.arguments.items()],
        2,
    )
