"""Finds annotation files and images, and which belong together."""

from __future__ import annotations

import collections
import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence

from tfrecord_tools import annotation, command, storage

IMAGE_SUFFIXES = frozenset(
    [".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
# Where AIMMO's tools append something to the image's stem.
_SEPARATOR = re.compile(r"[._-]")


def find(
    folder: str, excluded: str, suffixes: frozenset[str]
) -> tuple[list[str], list[str]]:
    """Returns files with these suffixes, and images, below a folder.

    Linked folders are not entered.

    Args:
      folder: where to look.
      excluded: a folder not to enter: the output may lie inside the input.
      suffixes: of what may be annotations, lower case.

    Returns:
      Two sorted lists of paths relative to folder, with "/" between parts.
    """
    excluded = storage.absolute(excluded)
    annotations: list[str] = []
    images: list[str] = []
    for parent, folders, names in storage.walk(folder, _refuse):
        folders[:] = [
            name
            for name in sorted(folders)
            if storage.absolute(storage.join(parent, name)) != excluded
        ]
        below = os.path.relpath(parent, folder)
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            path = name if below == os.curdir else os.path.join(below, name)
            if suffix in suffixes:
                annotations.append(path)
            elif suffix in IMAGE_SUFFIXES:
                images.append(path)
    return sorted(annotations), sorted(images)


def _refuse(error: OSError) -> None:
    # os.walk would leave the folder out without a word.
    raise command.UserError(
        command.ExitCode.DATA,
        f"{error.filename} cannot be read ({error.strerror}). Check that the"
        " folder exists and that you may read it.",
    )


def printable(path: str) -> str:
    """Returns a path as text that can be written to any file."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def fault(folder: str, path: str) -> str | None:
    """Returns why a file below a folder must not be read, or None."""
    if printable(path) != path:
        return "file_name_not_utf8"
    if storage.is_remote(folder):  # object stores have no links and no pipes
        return None
    full = os.path.join(folder, path)
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(full)]) != root:
        return "leaves_folder"
    if not os.path.isfile(full):  # a broken link, a pipe
        return "not_a_file"
    return None


def fingerprint(groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Returns a digest that changes when a file is added, removed or written.

    Args:
      groups: folders, and the paths below each. Names, sizes and modification
        times count, not contents: reading all images would take as long as
        converting them.
    """
    digest = hashlib.sha256()
    for folder, paths in groups:
        for path in paths:
            try:
                size, time_ns = storage.status(storage.join(folder, path))
                entry = f"{path}\0{size}\0{time_ns}\n"
            except OSError:
                entry = f"{path}\0unreadable\n"
            digest.update(entry.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _key(name: str) -> str:
    # Korean names come composed or decomposed, as the system wrote them.
    return unicodedata.normalize("NFC", name)


class ImageIndex:
    """Looks up images by what an annotation file says about them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = collections.defaultdict(list)
        self._by_stem: dict[str, list[str]] = collections.defaultdict(list)
        for path in paths:
            name = _key(os.path.basename(path))
            self._by_name[name].append(path)
            self._by_stem[os.path.splitext(name)[0]].append(path)

    def find_path(self, path: str) -> str:
        """Returns the image with a path, or the only one whose path ends so.

        Raises:
          annotation.AnnotationFault: as find.
        """
        parts = _checked_parts(path)
        whole = "/".join(parts)
        found = self._with_ending(parts)
        exact = [image for image in found if _key(image) == whole]
        return _only(exact or found, path)

    def find(self, file: str, image_name: str | None, drive: str | None) -> str:
        """Returns the image of an annotation file.

        By the name in the file, else by that name's stem (another format), else
        by the annotation file's own stem, of which the image's stem is the
        beginning. Of several images with one name, the one whose folders end
        like the annotation file's, or like its drive, is taken.

        Args:
          file: the annotation file, relative to the input folder.
          image_name: the image's name in it, or None.
          drive: the drive in it, or None.

        Raises:
          annotation.AnnotationFault: there is none, there are several, or the
            name leaves the folder.
        """
        candidates = self._candidates(file, image_name)
        if len(candidates) > 1:
            candidates = _nearest_folders(candidates, file, drive)
        return _only(candidates, image_name or "like the annotation file")

    def _with_ending(self, parts: list[str]) -> list[str]:
        ending = "/" + "/".join(parts)
        return [
            path
            for path in self._by_name.get(parts[-1], ())
            if ("/" + _key(path)).endswith(ending)
        ]

    def _candidates(self, file: str, image_name: str | None) -> list[str]:
        if image_name is not None:
            parts = _checked_parts(image_name)
            found = self._with_ending(parts) or self._by_stem.get(
                os.path.splitext(parts[-1])[0], []
            )
            if found:
                return found
        stem = os.path.splitext(_key(os.path.basename(file)))[0]
        ends = [len(stem)] + [m.start() for m in _SEPARATOR.finditer(stem)]
        for end in sorted(ends, reverse=True):
            if stem[:end] in self._by_stem:
                return self._by_stem[stem[:end]]
        return []


def _only(candidates: list[str], name: str) -> str:
    if not candidates:
        raise annotation.AnnotationFault(
            "image_missing", f"no image is called {annotation.quoted(name)}"
        )
    if len(candidates) > 1:
        shown = ", ".join(candidates[:3])
        raise annotation.AnnotationFault(
            "image_ambiguous",
            f"{len(candidates)} images have this name: {shown}",
        )
    return candidates[0]


def _checked_parts(image_name: str) -> list[str]:
    """Returns the parts of a path; raises if it leads out of its folder."""
    parts = _key(image_name).replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", parts[0]):
        raise annotation.AnnotationFault(
            "filename_leaves_folder",
            f"'filename' is {annotation.quoted(image_name)}; a path below the"
            " input folder was expected, without '..'",
        )
    parts = [part for part in parts if part not in ("", ".")]
    if not parts:
        raise annotation.AnnotationFault(
            "filename_not_text",
            f"'filename' is {annotation.quoted(image_name)}, which names no"
            " file",
        )
    return parts


def _nearest_folders(
    candidates: list[str], file: str, drive: str | None
) -> list[str]:
    folder = os.path.dirname(file)
    beside = [c for c in candidates if os.path.dirname(c) == folder]
    if len(beside) == 1:
        return beside
    wanted = [_key(folder).split("/")]
    if drive:
        # The camera's folder may or may not be part of the image's path.
        wanted.append(_key(drive).split("/"))
    scores = {c: _score(os.path.dirname(_key(c)), wanted) for c in candidates}
    best = max(scores.values())
    if best == 0:  # as in DIR/Annotations and DIR/JPEGImages
        parent = [wanted[0][:-1]]
        scores = {
            c: _score(os.path.dirname(_key(c)), parent) for c in candidates
        }
        best = max(scores.values())
    return [c for c in candidates if scores[c] == best]


def _score(folder: str, wanted: list[list[str]]) -> int:
    """Returns how many components in a row, from the end, two folders share."""
    parts = folder.split("/")
    best = 0
    for other in wanted:
        for ours in (parts, parts[:-1]):
            shared = 0
            for a, b in zip(reversed(ours), reversed(other), strict=False):
                if a != b:
                    break
                shared += 1
            best = max(best, shared)
    return best
