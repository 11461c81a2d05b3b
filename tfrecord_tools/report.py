"""The account of a conversion, for a person to read."""

from __future__ import annotations

import collections
from typing import Any

from tfrecord_tools import schema, selection_text


def text(manifest: schema.Manifest) -> str:
    """Returns what was written, rejected and left out, as lines of text."""
    lines = _table(manifest)
    for what in ("images", "objects"):
        lines += ["", *_account(what, manifest.accounts[what])]
        for reason, examples in manifest.rejects[what].items():
            first = examples[0]
            where = first["file"]
            if "annotation_id" in first:
                where += f", annotation {first['annotation_id']}"
            lines.append(
                f"    {reason}, such as {where}: {first.get('detail', '')}"
            )
    clipped = manifest.accounts["objects"]["clipped"]
    if clipped:
        lines.append(f"  boxes cut at the image's edge: {clipped}")
    for name, missing in manifest.split_rule.get(
        "listed_but_not_usable", {}
    ).items():
        lines.append(
            f"warning: {missing['count']} entries of --{name}_list name no"
            f" usable image, such as {missing['examples'][0]}"
        )
    lines += selection_text.lines(manifest)
    for name, part in manifest.splits.items():
        for class_name, number in part.objects.items():
            if number == 0:
                lines.append(
                    f"warning: {name} has no object of class {class_name!r}"
                )
    return "\n".join(lines)


def _table(manifest: schema.Manifest) -> list[str]:
    sources = collections.defaultdict(list)
    for source, target in manifest.mapping.items():
        sources[target].append(source)
    names = list(manifest.splits)
    width = max(len(name) for name in (*manifest.classes, "images", "shards"))
    lines = [f"{'':3} {'':{width}}" + "".join(f" {name:>9}" for name in names)]

    def row(label: str, first: str, values: list[int], last: str) -> None:
        cells = "".join(f" {value:>9}" for value in values)
        lines.append(f"{label:>3} {first:{width}}{cells}{last}")

    parts = manifest.splits.values()
    row("", "images", [part.images for part in parts], "")
    for index, name in enumerate(manifest.classes, start=1):
        row(
            str(index),
            name,
            [part.objects[name] for part in parts],
            f"  from {', '.join(sources[name])}",
        )
    row("", "shards", [len(part.shards) for part in parts], "")
    return lines


def _account(what: str, account: dict[str, Any]) -> list[str]:
    filtered = account["filtered"]
    rejected = account["rejected"]
    lines = [
        f"{what}: {account['in']} in = {account['written']} written +"
        f" {sum(filtered.values())} left out + {sum(rejected.values())}"
        " rejected"
    ]
    for title, reasons in (("left out", filtered), ("rejected", rejected)):
        if reasons:
            shown = ", ".join(f"{r} {n}" for r, n in reasons.items())
            lines.append(f"  {title}: {shown}")
    return lines
