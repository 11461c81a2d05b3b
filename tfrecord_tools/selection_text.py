"""What was selected and how it was divided, for a person to read."""

from __future__ import annotations

from typing import Any

from tfrecord_tools import schema

_MOST_SHOWN = 3


def lines(manifest: schema.Manifest) -> list[str]:
    """Returns the lines on selection, shares and near-duplicates."""
    return [
        *_selection(manifest.selection),
        *_shares(manifest.split_rule),
        *_near_duplicates(manifest.split_rule),
    ]


def _selection(report: dict[str, Any]) -> list[str]:
    if not report:
        return []
    stages = ("found", "filtered", "selected")
    rows = {"images": [report[stage]["images"] for stage in stages]}
    for what in ("objects", "cameras"):
        rows |= {
            name: [report[stage][what].get(name, 0) for stage in stages]
            for name in report["found"][what]
        }
    width = max(len(name) for name in (*rows, "selection"))
    table = [("selection", stages), *rows.items()]
    text = ["", *(_row(name, width, cells) for name, cells in table)]
    for field, number in report["images_without_field"].items():
        text.append(f"warning: {number} images have no field {field!r}")
    for field, number in report["objects_without_field"].items():
        text.append(f"warning: {number} objects have no field {field!r}")
    return text


def _row(name: str, width: int, cells: Any) -> str:
    return f"{name:{width}}" + "".join(f" {cell:>9}" for cell in cells)


def _shares(rule: dict[str, Any]) -> list[str]:
    shares = rule.get("shares")
    if not shares:
        return []
    text = ["", f"split by {rule.get('grouped_by', rule['rule'])}:"]
    for name, share in shares.items():
        asked = share["asked"]
        wish = "" if asked is None else f" (asked for {asked:.1%})"
        text.append(
            f"  {name}: {share['reached']:.1%} of the images{wish},"
            f" {share['groups']} groups"
        )
    for name, classes in rule["missing_classes"].items():
        text += [
            f"warning: no group in {name} has class {class_name!r}; of all"
            f" groups {number} {'has' if number == 1 else 'have'} it"
            for class_name, number in classes.items()
        ]
    shared = rule.get("groups_in_several_splits")
    if shared:
        text.append(
            f"warning: {shared['count']} groups (drives) have images in several"
            f" splits, such as {shared['examples'][0]}"
        )
    return text


def _near_duplicates(rule: dict[str, Any]) -> list[str]:
    if "near_duplicates" not in rule:
        return []
    report = rule["near_duplicates"]
    if report is None:
        return ["", "near-duplicates across splits: not looked for"]
    start = (
        f"near-duplicates across splits (at most {report['distance']} of 128"
        " bits differ):"
    )
    unread = report["not_readable"]
    text = [f"  not compared, as they cannot be read: {unread} images"]
    text *= bool(unread)
    if not report["pairs"]:
        return ["", f"{start} none", *text]
    images = ", ".join(f"{n} in {s}" for s, n in report["images"].items())
    text = ["", f"{start} {report['pairs']} pairs; images: {images}", *text]
    for pair in report["examples"][:_MOST_SHOWN]:
        text.append(
            f"  {pair['first']} and {pair['second']}, distance"
            f" {pair['distance']}"
        )
    moved = report.get("moved")
    if moved is None:
        text.append(
            "warning: validation would measure what was learnt by heart;"
            " --move_duplicates puts them on one side"
        )
        return text
    text.append(f"  moved: {moved['groups']} groups, {moved['images']} images")
    for move in moved["examples"][:_MOST_SHOWN]:
        text.append(
            f"    {move['group']}: {move['num_images']} images from"
            f" {move['origin']} to {move['target']}"
        )
    return text
