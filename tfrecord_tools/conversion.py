"""A conversion from beginning to end."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from tfrecord_tools import (
    accounts,
    assembly,
    command,
    data_set,
    entries,
    files,
    images,
    output,
    planning,
    report,
    schema,
    storage,
)

_MOST_SIZES = 20  # of images before resizing, in the manifest


def convert(options: planning.Options) -> None:
    """Converts a folder of annotations; does nothing if that is done already.

    Raises:
      command.UserError: what the user can put right; no file is left under a
        final name.
    """
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(output.locked(options.output_dir))
        aside = stack.enter_context(output.aside(options.output_dir))
        # Look first: all of this needs no image to be decoded.
        found = planning.find(options, aside)
        options = planning.with_found(options, found)
        arguments = _arguments(options, found)
        if output.is_done(
            options.output_dir, arguments, options.formats, options.overwrite
        ):
            print(
                f"{options.output_dir} already holds this data set: same"
                " arguments, same input files. Nothing to do."
            )
            return
        image_account, objects = accounts.Account(), accounts.Account()
        plan = planning.make_plan(options, found, image_account, objects)

        # Write beside, check, then give all files their names at once.
        with output.partial(options.output_dir) as folder:
            # TensorFlow takes seconds to load: what is refused above is so at
            # once.
            from tfrecord_tools import report_page, writing

            written = writing.write(options, plan, folder, arguments)
            image_account.add(written.images)
            objects.add(written.objects)
            _check(options, written.splits, image_account, objects)
            manifest = _manifest(
                options, found, plan, arguments, written, image_account, objects
            )
            with data_set.disk_errors(options.output_dir):
                report_page.write(
                    folder,
                    manifest,
                    written.names,
                    options.image_dir,
                    options.max_pixels,
                    options.given,
                )
            written.names[schema.REPORT_NAME] = schema.REPORT_NAME
            data_set.commit(options.output_dir, folder, manifest, written.names)
    print(report.text(manifest))
    print(
        f"\n{storage.join(options.output_dir, schema.MANIFEST_NAME)} written,"
        f" {image_account.written} images in"
        f" {time.monotonic() - started_s:.1f} s."
    )


def _manifest(
    options: planning.Options,
    found: entries.Found,
    plan: planning.Plan,
    arguments: dict[str, Any],
    written: assembly.Written,
    image_account: accounts.Account,
    objects: accounts.Account,
) -> schema.Manifest:
    return schema.Manifest(
        classes=options.labels.classes,
        image_size=options.image_size,
        splits=written.splits,
        accounts={
            "images": image_account.as_dict(),
            "objects": {
                **objects.as_dict(),
                "clipped": written.num_clipped,
            },
        },
        rejects={
            "images": image_account.examples,
            "objects": objects.examples,
        },
        filters=options.selection.filters.as_dict(),
        mapping=dict(options.labels.mapping),
        split_rule=plan.rule,
        selection=plan.selection,
        arguments=arguments,
        formats=options.formats,
        resize=_resize(options, written.source_sizes),
        checksums=written.checksums,
        source=found.facts,
    )


def _check(
    options: planning.Options,
    splits: Mapping[str, schema.Split],
    image_account: accounts.Account,
    objects: accounts.Account,
) -> None:
    planning.check_rejects(image_account, options.max_rejects)
    image_account.check("images")
    objects.check("objects")
    for name, part in splits.items():
        if not part.images:
            raise command.UserError(
                command.ExitCode.DATA,
                f"Split {name!r} has no image left: all were rejected"
                f" ({dict(image_account.rejected)}). No data set was written.",
            )


def _resize(
    options: planning.Options, source_sizes: Mapping[str, int]
) -> dict[str, Any] | None:
    """Returns how images were brought to their size, for the manifest."""
    if options.image_size is None:
        return None
    if options.resize == images.STRETCH:
        return {"mode": options.resize}
    content = {}
    for size, _ in collections.Counter(source_sizes).most_common(_MOST_SIZES):
        width, height = map(int, size.split("x"))
        now = images.content_size(
            height, width, options.image_size, options.resize
        )
        content[size] = f"{now[1]}x{now[0]}"
    return {
        "mode": options.resize,
        "position": "top left",
        "fill": list(images.FILL),
        "content": content,
    }


def _arguments(
    options: planning.Options, found: entries.Found
) -> dict[str, Any]:
    """Returns all that decides what is written, for the manifest."""
    choice = options.choice
    size = options.image_size
    return {
        "input_dir": storage.absolute(options.input_dir),
        "image_dir": storage.absolute(options.image_dir),
        "format": options.format,
        "coordinates": options.coordinates,
        "classes": list(options.labels.classes),
        "mapping": dict(options.labels.mapping),
        "image_size": None if size is None else f"{size[1]}x{size[0]}",
        "resize": options.resize,
        "image_format": options.image_format,
        "formats": list(options.formats),
        **dataclasses.asdict(choice),
        **options.selection.arguments(),
        "num_shards": options.num_shards,
        "max_rejects": options.max_rejects,
        "allow_empty_classes": options.allow_empty_classes,
        "jpeg_quality": options.jpeg_quality,
        "max_pixels": options.max_pixels,
        "input_fingerprint": files.fingerprint(
            [
                (options.input_dir, found.annotations),
                (options.image_dir, found.images),
                ("", list(choice.lists.values())),
            ]
        ),
    }
