"""What must hold for every data set with damaged annotation files.

As a command it tries many more than the tests do, each tenth with the whole
conversion, and says how fast:

    python -m tests.tfrecord_tools.mutations COUNT [SEED]
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from tests.tfrecord_tools import damaged_files, made_dataset
from tfrecord_tools import (
    accounts,
    command,
    convert,
    pairing,
    planning,
    prepare,
    schema,
    selection,
    split,
)

SECRET = "content-of-a-file-elsewhere"
EXPANDED = "an-entity-expanded"
_WHOLE_EVERY = 10


class Place:
    """A folder to try damaged data sets in, with a file beside the input."""

    def __init__(self, root: pathlib.Path, kind: str) -> None:
        """Makes the images.

        Args:
          root: an empty folder.
          kind: the format.
        """
        self.kind = kind
        self.root = root
        self.input = root / "in"
        self.output = root / "out"
        self.secret = root / "secret.txt"
        self.secret.write_text(SECRET)
        images = self.input / "images" if kind == "yolo" else self.input
        (self.input / "labels").mkdir(parents=True)
        images.mkdir(exist_ok=True)
        made_dataset.pixels(0).save(root / "secret.jpg")
        for name in ("a.jpg", "b.jpg"):
            made_dataset.pixels(len(name)).save(images / name)

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Replaces the annotation files."""
        for path, content in contents.items():
            (self.input / path).write_bytes(content)

    def snapshot(self) -> list[tuple[str, int, int]]:
        """Returns all files outside of the output folder."""
        return [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.is_relative_to(self.output)
        ]

    def options(self) -> planning.Options:
        """Returns what a conversion is asked for."""
        return planning.Options(
            input_dir=str(self.input),
            image_dir=str(self.input),
            output_dir=str(self.output),
            format=self.kind,
            coordinates="auto",
            classes=("car", "truck", "bus") if self.kind == "aimmo" else None,
            class_map=(),
            image_size=(10, 10),
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


def check_reading(place: Place) -> tuple[int, int]:
    """Reads and prepares all, and checks that the accounts add up.

    A UserError is an answer too; every other error is one of ours.

    Returns:
      Number of objects that would be written, and of faults.
    """
    options = place.options()
    images, objects = accounts.Account(), accounts.Account()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            found = planning.find(options, str(place.output / "aside"))
            options = planning.with_found(options, found)
            usable = pairing.pair(
                found,
                str(place.input),
                "auto",
                selection.NONE,
                1,
                images,
                objects,
            )
        except command.UserError as error:
            _check_text(str(error))
            return 0, 1
    for number, (image, summary) in enumerate(usable.items(), start=1):
        item = planning.Item(image=image, source_id=number, summary=summary)
        _prepare(options, item, images, objects)
    images.check("images")
    objects.check("objects")
    shown = [images.as_dict(), objects.as_dict(), found.facts]
    _check_text(json.dumps([*shown, images.examples, objects.examples]))
    _check_text(" ".join(options.labels.classes))
    return objects.written, images.num_rejected + objects.num_rejected


def _prepare(
    options: planning.Options,
    item: planning.Item,
    images: accounts.Account,
    objects: accounts.Account,
) -> None:
    settings = prepare.Settings(
        labels=options.labels,
        image_size=(10, 10),
        resize="stretch",
        image_format="keep",
        jpeg_quality=95,
        max_pixels=10_000,
    )
    result = prepare.prepare(settings, planning.task(options, item))
    if isinstance(result, prepare.Rejected):
        pairing.reject_image(images, result)
        objects.rejected["image_rejected"] += item.summary.num_objects
        return
    images.written += 1
    objects.written += len(result.objects)
    objects.filtered.update(result.filtered)
    for fault in result.rejected:
        objects.reject(fault.reason, {"detail": fault.detail})
    for stored in result.objects:
        y_min, x_min, y_max, x_max = stored.box
        assert 0 <= y_min < y_max <= 10
        assert 0 <= x_min < x_max <= 10
        assert 1 <= stored.label <= len(options.labels.classes)


def _check_text(text: str) -> None:
    """Checks what is said and written: it can be, and nothing leaked."""
    text.encode()
    assert SECRET not in text
    assert EXPANDED not in text


def check_command(place: Place) -> None:
    """Runs the whole conversion and checks what it leaves behind."""
    shutil.rmtree(place.output, ignore_errors=True)
    before = place.snapshot()
    argv = [
        "convert",
        f"--input_dir={place.input}",
        f"--output_dir={place.output}",
        f"--format={place.kind}",
        "--max_rejects=1",
        "--allow_empty_classes",
        "--num_workers=1",
    ]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command.run(convert.main, convert.FLAGS, "usage", argv)
    assert place.snapshot() == before
    assert code in (0, 64, 65), said.getvalue()
    _check_text(said.getvalue())
    if code != 0:
        assert not place.output.exists()
        return
    names = sorted(path.name for path in place.output.iterdir())
    assert names == [
        schema.MANIFEST_NAME,
        schema.REPORT_NAME,
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]
    for name in names:
        content = (place.output / name).read_bytes()
        assert SECRET.encode() not in content
        assert EXPANDED.encode() not in content
    text = (place.output / schema.MANIFEST_NAME).read_text()
    for account in schema.parse_manifest(text, "").accounts.values():
        assert account["in"] == (
            account["written"]
            + sum(account["filtered"].values())
            + sum(account["rejected"].values())
        )


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Says what was tried if that does not come to its end."""
    is_done = False
    try:
        yield
        is_done = True
    finally:
        if not is_done:
            print(f"{what} failed")


def main(argv: list[str]) -> None:
    """Tries damaged data sets of all formats in turn."""
    count, seed = int(argv[1]), int(argv[2]) if len(argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for kind in damaged_files.FORMATS:
            root = pathlib.Path(folder, kind)
            root.mkdir()
            places.append(Place(root, kind))
        started_s = time.monotonic()
        for number in range(count):
            place = places[number % len(places)]
            rng = random.Random(f"{seed}:{number}")
            place.write(damaged_files.draw(place.kind, rng, place.secret))
            with _named(f"case {number} ({place.kind}) of seed {seed}"):
                check_reading(place)
                if number // len(places) % _WHOLE_EVERY == 0:
                    check_command(place)
        spent_s = time.monotonic() - started_s
    print(f"{count} cases in {spent_s:.0f} s, {count / spent_s:.0f} a second")


if __name__ == "__main__":
    main(sys.argv)
