"""Filters on what annotations say of images and of objects.

Standard library only, as worker processes import it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from tfrecord_tools import annotation, command

IMAGE_FLAG = "image_filter"
OBJECT_FLAG = "object_filter"
CAMERA = "camera"
MISSING = "missing"
FAKE = "isfake"
SIZES = ("width", "height", "area")
_LIMITS = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_SHOWN = 20
_SYNTAX = (
    "Expected FIELD:VALUE, FIELD:VALUE,VALUE (one of them), FIELD:!VALUE (none"
    " of them) or FIELD:<=NUMBER (also >=, <, >); the value 'missing' stands"
    " for annotations without the field."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """One condition on one field.

    Attributes:
      flag: the flag that gave it.
      text: its value.
      field: the field's name.
      is_negated: what meets none of the alternatives is kept.
      values: alternatives that the field may be equal to.
      limits: alternatives as a sign and a number.
    """

    flag: str
    text: str
    field: str
    is_negated: bool
    values: tuple[str, ...]
    limits: tuple[tuple[str, float], ...]

    def reason(self, value: str | None) -> str | None:
        """Returns what a thing is left out for, or None if it is kept.

        Args:
          value: the field, or None if it is missing.
        """
        name = f"filter:{self.field}"
        if value is None:
            is_met = MISSING in self.values
            name += f":{MISSING}"
        else:
            number = _number(value)
            is_met = any(_is_equal(value, number, v) for v in self.values)
            if number is not None:
                is_met |= any(_LIMITS[s](number, n) for s, n in self.limits)
            elif self.limits:
                name += ":not_a_number"
        return None if is_met != self.is_negated else name

    @property
    def texts(self) -> tuple[str, ...]:
        """The alternatives that are words: a misspelt one would meet nothing.

        A number need not occur: the filter may be meant for other data too.
        """
        return tuple(
            v for v in self.values if v != MISSING and _number(v) is None
        )

    def __str__(self) -> str:
        return f"--{self.flag}={self.text}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """All filters; `is_survey` asks for all fields, to name them in an error.

    Attributes:
      images: an image must meet all of them.
      objects: an object must meet all of them.
      keep_fake: pictures of objects count as objects.
      is_survey: as above.
    """

    images: tuple[Filter, ...] = ()
    objects: tuple[Filter, ...] = ()
    keep_fake: bool = False
    is_survey: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns what is left out by filters, for the manifest."""
        fake = {} if self.keep_fake else {FAKE: "0"}
        given = {
            item.flag: [f.text for f in part]
            for part in (self.images, self.objects)
            for item in part
        }
        return {"type": "bbox", **fake, **given}

    def image_fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Returns those fields of an image that the plan needs."""
        if self.is_survey:
            return dict(fields)
        wanted = {CAMERA, *(f.field for f in self.images)}
        return {name: fields[name] for name in wanted if name in fields}

    def object_reason(self, item: annotation.Object) -> str | None:
        """Returns what an object is left out for, or None if it is kept."""
        reasons = (f.reason(object_value(item, f.field)) for f in self.objects)
        return next((reason for reason in reasons if reason is not None), None)

    def seen(self, objects: Iterable[annotation.Object]) -> dict[str, int]:
        """Returns how many objects have each filter's field, and its words.

        Keys are "field" and "field:word"; a survey counts all fields, and all
        that occurs in a filter's field.
        """
        counts: collections.Counter[str] = collections.Counter()
        for item in objects:
            if self.is_survey:
                counts.update({*item.fields, "class", *SIZES})
            for field in {f.field for f in self.objects}:
                value = object_value(item, field)
                if value is None:
                    continue
                counts[field] += not self.is_survey
                texts = {
                    t for f in self.objects if f.field == field for t in f.texts
                }
                if self.is_survey or value in texts:
                    counts[f"{field}:{value}"] += 1
        return dict(counts)


NONE = Filters()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_equal(value: str, number: float | None, wanted: str) -> bool:
    return value == wanted or (number is not None and number == _number(wanted))


def object_value(item: annotation.Object, field: str) -> str | None:
    """Returns a field of an object; sizes are of the box as drawn, in pixels.

    "class" is the annotation's class name. These go before fields of the same
    name.
    """
    y0, x0, y1, x1 = item.box
    if field == "class":
        return item.class_name
    if field in SIZES:
        sizes = (x1 - x0, y1 - y0, (x1 - x0) * (y1 - y0))
        return repr(sizes[SIZES.index(field)])
    return item.fields.get(field)


def parse_filter(flag: str, text: str) -> Filter:
    """Returns the filter that a flag's value describes.

    Raises:
      command.UserError: the text is not a filter.
    """
    field, colon, condition = (part.strip() for part in text.partition(":"))
    is_negated = condition.startswith("!")
    parts = condition.removeprefix("!").removeprefix("=" * is_negated)
    values: list[str] = []
    limits: list[tuple[str, float]] = []
    message = ""
    for part in (p.strip() for p in parts.split(",")):
        sign = next((s for s in _LIMITS if part.startswith(s)), None)
        number = None if sign is None else _number(part.removeprefix(sign))
        if not part:
            message = "has an empty value"
        elif sign is None:
            values.append(part)
        elif number is None:
            message = f"compares with {part.removeprefix(sign)!r}, no number"
        else:
            limits.append((sign, number))
    if not (field and colon):
        message = "names no field"
    if message:
        raise command.UserError(
            command.ExitCode.USAGE, f"--{flag}={text} {message}. {_SYNTAX}"
        )
    return Filter(
        flag=flag,
        text=text,
        field=field,
        is_negated=is_negated,
        values=tuple(values),
        limits=tuple(limits),
    )


def make_filters(
    images: Iterable[str], objects: Iterable[str], keep_fake: bool
) -> Filters:
    """Returns the filters that the flags' values describe.

    A filter on "isfake" decides alone what becomes of pictures of objects.

    Raises:
      command.UserError: a text is not a filter.
    """
    parsed = tuple(parse_filter(OBJECT_FLAG, text) for text in objects)
    return Filters(
        images=tuple(parse_filter(IMAGE_FLAG, text) for text in images),
        objects=parsed,
        keep_fake=keep_fake or any(f.field == FAKE for f in parsed),
    )
