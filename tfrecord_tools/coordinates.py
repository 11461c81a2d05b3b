"""In which coordinates a data set's boxes are, decided once for all of it.

    pixels          continuous: 0 is the image's left or upper edge
    pixels_from_1   Pascal VOC: numbers of pixels, the first is 1, and a box
                    includes its last one; 1 to 64 covers an image of 64 pixels
    normalised      sides of the image, 0 to 1

Standard library only, as worker processes import it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tfrecord_tools import annotation, command

AUTO = "auto"
PIXELS = "pixels"
PIXELS_FROM_1 = "pixels_from_1"
NORMALISED = "normalised"
ALL = (PIXELS, PIXELS_FROM_1, NORMALISED)

# What a box in its data set's coordinates may be a sign of.
BELOW_1 = "below_1"

# A normalised box may leave its image a little, and nobody draws a box of fewer
# pixels than this in the image's corner.
LIMIT = 1.5

Box = tuple[float, float, float, float]


def signs(objects: Iterable[annotation.Object]) -> tuple[str, ...]:
    """Returns what one file's boxes show: PIXELS or NORMALISED, BELOW_1.

    The file is one tool's work, so one large box shows that its small ones are
    in pixels too. Boxes of whole numbers 0 and 1 are in pixels or cover the
    image: they show nothing, nor do boxes without an area.
    """
    is_beyond = is_fraction = is_below_1 = False
    for item in objects:
        y0, x0, y1, x1 = item.box
        if y0 > y1 or x0 > x1:
            continue
        is_below_1 |= y0 < 1 or x0 < 1
        if y0 == y1 or x0 == x1:
            continue
        if max(map(abs, item.box)) > LIMIT:
            is_beyond = True
        elif not all(value.is_integer() for value in item.box):
            is_fraction = True
    shown = [BELOW_1] if is_below_1 else []
    if is_beyond:
        shown.append(PIXELS)
    elif is_fraction:
        shown.append(NORMALISED)
    return tuple(shown)


@dataclasses.dataclass(kw_only=True)
class Tally:
    """How many files show each sign, and the first that does."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    examples: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, file: str, shown: Iterable[str]) -> None:
        """Counts one file."""
        for sign in shown:
            self.counts[sign] = self.counts.get(sign, 0) + 1
            self.examples.setdefault(sign, file)

    def text(self, sign: str) -> str:
        """Returns the count and the example, for messages."""
        return f"{self.counts[sign]} files, such as {self.examples[sign]}"


def decide(flag: str, rule: str, tally: Tally) -> str:
    """Returns the data set's coordinates.

    Args:
      flag: --coordinates; a value other than AUTO decides.
      rule: what the format prescribes; AUTO leaves it to the data.
      tally: what the files show.

    Raises:
      command.UserError: the files contradict each other or the format.
    """
    if rule == NORMALISED and flag not in (AUTO, NORMALISED):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--coordinates={flag} is not possible: the format's boxes are"
            f" {NORMALISED}. Leave the flag out.",
        )
    if flag != AUTO:
        return flag
    seen = tally.counts
    if rule == AUTO and PIXELS in seen and NORMALISED in seen:
        raise _error(
            "The boxes of one data set are in pixels and normalised (0 to 1):"
            f" in pixels {tally.text(PIXELS)}; normalised"
            f" {tally.text(NORMALISED)}. Convert one part of the files, or"
            " leave it out. If the second are boxes of a pixel's size, give"
            " --coordinates=pixels."
        )
    if rule == AUTO:
        return NORMALISED if NORMALISED in seen else PIXELS
    if rule == PIXELS_FROM_1 and BELOW_1 in seen:
        raise _error(
            "Pascal VOC numbers pixels from 1 on, and boxes begin before that"
            f" in {tally.text(BELOW_1)}. Give --coordinates=pixels if the tool"
            " that wrote the files counts from 0; its boxes are then taken as"
            " they are. --coordinates=pixels_from_1 insists on VOC's rule."
        )
    if rule != NORMALISED and NORMALISED in seen and PIXELS not in seen:
        raise _error(
            "The format's boxes are in pixels, and all of these lie within 0"
            f" and 1: {tally.text(NORMALISED)}. Give --coordinates=normalised"
            " if they are shares of the image's sides, or --coordinates="
            f"{rule} if they are as small as that."
        )
    return rule


def _error(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


def to_pixels(box: Box, coordinates: str, size: tuple[int, int]) -> Box:
    """Returns a box in continuous pixels of the image.

    Args:
      box: y_min, x_min, y_max, x_max in the data set's coordinates.
      coordinates: which these are.
      size: the image's (height, width) in pixels.
    """
    y0, x0, y1, x1 = box
    if coordinates == PIXELS_FROM_1:
        return y0 - 1, x0 - 1, y1, x1
    if coordinates == NORMALISED:
        height, width = size
        return y0 * height, x0 * width, y1 * height, x1 * width
    return box
