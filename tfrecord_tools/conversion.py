"""A conversion from beginning to end."""

from __future__ import annotations

import pathlib
import time
from typing import Any

from tfrecord_tools import (
    accounts,
    command,
    files,
    output,
    planning,
    report,
    schema,
)


def convert(options: planning.Options) -> None:
    """Converts a folder of annotations; does nothing if that is done already.

    Raises:
      command.UserError: what the user can put right; no file is left under a
        final name.
    """
    started_s = time.monotonic()
    with output.locked(options.output_dir):
        # Look first: all of this needs no image to be decoded.
        found = planning.find(options)
        arguments = _arguments(options, found)
        if output.is_done(options.output_dir, arguments, options.overwrite):
            print(
                f"{options.output_dir} already holds this data set: same"
                " arguments, same input files. Nothing to do."
            )
            return
        images, objects = accounts.Account(), accounts.Account()
        plan = planning.make_plan(options, found, images, objects)

        # Write beside, check, then give all files their names at once.
        with output.partial(options.output_dir) as folder:
            manifest = _write(options, plan, folder, arguments, images, objects)
            # Imported late, as writing is: it reads records.
            from tfrecord_tools import report_page

            with output.disk_errors(options.output_dir):
                report_page.write(
                    folder, manifest, options.image_dir, options.max_pixels
                )
            output.commit(options.output_dir, folder, manifest)
    print(report.text(manifest))
    print(
        f"\n{options.output_dir / schema.MANIFEST_NAME} written,"
        f" {images.written} images in {time.monotonic() - started_s:.1f} s."
    )


def _write(
    options: planning.Options,
    plan: planning.Plan,
    folder: pathlib.Path,
    arguments: dict[str, Any],
    images: accounts.Account,
    objects: accounts.Account,
) -> schema.Manifest:
    # TensorFlow takes seconds to load: what is refused above is so at once.
    from tfrecord_tools import writing

    with output.disk_errors(options.output_dir):
        splits, num_clipped = writing.write(
            options, plan, folder, images, objects
        )
    planning.check_rejects(images, options.max_rejects)
    images.check("images")
    objects.check("objects")
    for name, part in splits.items():
        if not part.images:
            raise command.UserError(
                command.ExitCode.DATA,
                f"Split {name!r} has no image left: all were rejected"
                f" ({dict(images.rejected)}). No data set was written.",
            )
    return schema.Manifest(
        classes=options.labels.classes,
        image_size=options.image_size,
        splits=splits,
        accounts={
            "images": images.as_dict(),
            "objects": {**objects.as_dict(), "clipped": num_clipped},
        },
        rejects={"images": images.examples, "objects": objects.examples},
        filters={"type": "bbox", "isfake": "0"},
        mapping=dict(options.labels.mapping),
        split_rule=plan.rule,
        arguments=arguments,
    )


def _arguments(
    options: planning.Options, found: planning.Found
) -> dict[str, Any]:
    """Returns all that decides what is written, for the manifest."""
    choice = options.choice
    lists = [p for p in (choice.train_list, choice.val_list) if p is not None]
    size = options.image_size
    return {
        "input_dir": str(options.input_dir.resolve()),
        "image_dir": str(options.image_dir.resolve()),
        "classes": list(options.labels.classes),
        "mapping": dict(options.labels.mapping),
        "image_size": None if size is None else f"{size[1]}x{size[0]}",
        "train_list": choice.train_list,
        "val_list": choice.val_list,
        "val_fraction": choice.val_fraction,
        "eval_on_train": choice.eval_on_train,
        "seed": choice.seed,
        "num_shards": options.num_shards,
        "max_rejects": options.max_rejects,
        "allow_empty_classes": options.allow_empty_classes,
        "jpeg_quality": options.jpeg_quality,
        "max_pixels": options.max_pixels,
        "input_fingerprint": files.fingerprint(
            [
                (str(options.input_dir), found.annotations),
                (str(options.image_dir), found.images),
                ("", lists),
            ]
        ),
    }
