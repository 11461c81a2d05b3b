"""Makes parts with Apache Beam, on any runner that it knows.

A worker gets one part after the other and writes it whole, as the local engine
does: the files are the same, byte for byte, whichever engine made them. The
folders must be such that every worker reaches them, as gs:// is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam

from tfrecord_tools import (
    command,
    decoding,
    entries,
    part_writer,
    parts,
    prepare,
    storage,
)

_PLAN = ".plan"
_ERROR = ".error"
_PORTABLE_RUNNERS = ("FlinkRunner", "PortableRunner", "SparkRunner")


def run(
    planned: Sequence[parts.Part],
    settings: prepare.Settings,
    classes: Sequence[str],
    wanted: Sequence[str],
    folder: str,
    beam_args: Sequence[str],
) -> None:
    """Makes the parts, as many at once as the runner has workers.

    Args:
      planned: the parts to make.
      settings: what is done to every image.
      classes: class names in the order of their ids.
      wanted: names of formats.FORMATS.
      folder: where to.
      beam_args: Beam's own options; without a runner it is DirectRunner.

    Raises:
      OSError: the folder cannot be written.
      command.UserError: the runner failed, or a worker met a refusal.
    """
    if not planned:
        return
    # In files: a runner's description of a job may not hold them all.
    options = _options(beam_args)
    for part in planned:
        text = json.dumps(_plain(part))
        storage.write_bytes(_path(folder, part.name, _PLAN), text.encode())
    make = _Make(settings, tuple(classes), tuple(wanted), folder)
    try:
        with beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "Parts" >> beam.Create([part.name for part in planned])
                # Each part may go to another worker.
                | "Spread" >> beam.Reshuffle()
                | "Make" >> beam.ParDo(make)
            )
    except (RuntimeError, ValueError, ImportError) as error:
        raise command.UserError(
            command.ExitCode.DEVICE,
            f"Beam's runner failed ({error}). Check --beam_args="
            f"{' '.join(beam_args)}; what is finished is kept, the same"
            " command goes on.",
        ) from error
    _check(planned, folder)


def _options(
    beam_args: Sequence[str],
) -> beam.options.pipeline_options.PipelineOptions:
    """Returns Beam's options; Beam itself leaves out what it does not know."""
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", *beam_args]
    )
    known = options.get_all_options()
    unknown = sorted(
        set(options.get_all_options(retain_unknown_options=True)) - set(known)
    )
    # These ask their job server, which may know more options than Beam here.
    if unknown and known["runner"] not in _PORTABLE_RUNNERS:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--beam_args=--{unknown[0]} is no option of Apache Beam"
            f" {beam.__version__} for {known['runner']}. Expected one of its"
            " pipeline options, as --beam_args=--runner=DataflowRunner.",
        )
    return options


class _Make(beam.DoFn):
    """Makes the part of a name."""

    def __init__(
        self,
        settings: prepare.Settings,
        classes: tuple[str, ...],
        wanted: tuple[str, ...],
        folder: str,
    ) -> None:
        self._settings = settings
        self._classes = classes
        self._wanted = wanted
        self._folder = folder

    def process(self, name: str) -> Iterator[str]:
        """Yields the name when the part is finished."""
        content = storage.read_bytes(_path(self._folder, name, _PLAN))
        part = _part(json.loads(content))
        writer = part_writer.Writer(
            self._folder, part, self._classes, self._wanted
        )
        try:
            for item in part.items:
                result = prepare.prepare(self._settings, item.task)
                writer.add(item, decoding.check(result))
            writer.finish()
        except OSError as error:
            # Beam would try it again, and at last show its own stack of calls.
            message = f"{error.strerror} ({error.filename})"
            path = _path(self._folder, name, _ERROR)
            storage.write_bytes(path, message.encode())
            return
        finally:
            writer.close()
        yield name


def _check(planned: Sequence[parts.Part], folder: str) -> None:
    there = set(storage.names(folder))
    for part in planned:
        if part.name + _ERROR in there:
            path = _path(folder, part.name, _ERROR)
            text = storage.read_bytes(path).decode()
            storage.remove(path)
            raise command.UserError(
                command.ExitCode.DISK,
                f"{folder} cannot be written: {text}. Make room or choose"
                " another --output_dir, and run the same command again.",
            )
        if parts.read_entry(folder, part) is None:
            raise command.UserError(
                command.ExitCode.DEVICE,
                f"Beam's runner ended without part {part.name}: its workers do"
                f" not write where {folder} is here. Give folders that every"
                " worker reaches, such as gs:// ones.",
            )


def _path(folder: str, name: str, ending: str) -> str:
    return storage.join(folder, name + ending)


def _plain(part: parts.Part) -> dict[str, Any]:
    """Returns a part in what JSON can hold."""
    values = dataclasses.asdict(part)
    for item in values["items"]:
        task = item["task"]
        task["checksum"] = task["checksum"].hex()
        # JSON has no other keys than text.
        task["reading"]["names"] = list(task["reading"]["names"].items())
    return values


def _part(values: dict[str, Any]) -> parts.Part:
    """Returns the part that _plain was called on."""
    items = []
    for item in values["items"]:
        task: dict[str, Any] = dict(item["task"])
        reading, entry = dict(task["reading"]), dict(task["entry"])
        reading["names"] = dict(reading["names"])
        if entry["aside"] is not None:
            entry["aside"] = tuple(entry["aside"])
        task["checksum"] = bytes.fromhex(task["checksum"])
        task["reading"] = entries.Reading(**reading)
        task["entry"] = entries.Entry(**entry)
        items.append(parts.Item(**{**item, "task": prepare.Task(**task)}))
    return parts.Part(**{**values, "items": tuple(items)})
