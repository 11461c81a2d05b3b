"""Chooses some of many images so that rare classes are kept.

The rule, in this order until enough images are chosen:

1. Images without objects keep their share of all images, rounded down.
2. The class that has the fewest objects in the chosen images, and is in an
   image that can still be chosen, gets the next such image in the seed's order.
   Among classes with equally few the first one does.
3. When no image with objects is left, one without.

An image can be chosen while its camera has not got its number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence

from tfrecord_tools import command

_REST = ""  # stands for all cameras without a share of their own
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image that may be chosen: its camera, and its objects per class."""

    camera: str
    counts: tuple[int, ...]


def parse_shares(texts: Sequence[str]) -> dict[str, float]:
    """Returns the share per camera from CAMERA:SHARE.

    Raises:
      command.UserError: a text is not that, a camera is named twice, or the
        shares are more than the whole.
    """
    shares: dict[str, float] = {}
    for text in texts:
        camera, _, number = text.rpartition(":")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not camera or not 0 <= share <= 1:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--camera_share={text} is not CAMERA:SHARE with a share from 0"
                " to 1, as in --camera_share=FR-View-CMR-Wide:0.5.",
            )
        if camera in shares:
            raise command.UserError(
                command.ExitCode.USAGE,
                f"--camera_share gives {camera!r} two shares. Keep one.",
            )
        shares[camera] = share
    if sum(shares.values()) > 1 + _ROUNDING:
        raise command.UserError(
            command.ExitCode.USAGE,
            "The shares of --camera_share add up to"
            f" {sum(shares.values()):g}, at most 1 was expected.",
        )
    return shares


def quotas(
    sizes: Mapping[str, int], shares: Mapping[str, float], num_images: int
) -> dict[str, int]:
    """Returns the number of images per camera; "" is all others together.

    Fractions of images go to the largest remainders.

    Args:
      sizes: number of images that may be chosen, per camera.
      shares: share of the cameras that have one.
      num_images: how many are to be chosen.

    Raises:
      command.UserError: a camera has too few images.
    """
    wanted = {**shares, _REST: 1 - sum(shares.values())}
    exact = {name: share * num_images for name, share in wanted.items()}
    numbers = {n: math.floor(e) for n, e in exact.items()}
    by_remainder = sorted(wanted, key=lambda n: (numbers[n] - exact[n], n))
    for name in by_remainder[: num_images - sum(numbers.values())]:
        numbers[name] += 1
    there = {name: sizes.get(name, 0) for name in shares}
    there[_REST] = sum(sizes.values()) - sum(there.values())
    short = [name for name in wanted if there[name] < numbers[name]]
    if short:
        lines = [
            f"  {name or 'all other cameras'}: {numbers[name]} images are"
            f" asked for (share {wanted[name]:g}), {there[name]} can be chosen"
            for name in wanted
        ]
        most = min(
            int(there[n] / share + _ROUNDING)
            for n, share in wanted.items()
            if share > _ROUNDING
        )
        raise command.UserError(
            command.ExitCode.DATA,
            f"--camera_share cannot be reached with --max_images={num_images}:"
            "\n" + "\n".join(lines) + f"\nWith these shares about {most} images"
            " can be chosen: lower --max_images, change the shares, or filter"
            " less.",
        )
    return numbers


def choose(
    candidates: Mapping[str, Candidate],
    num_images: int,
    shares: Mapping[str, float],
    seed: int,
) -> set[str]:
    """Returns the chosen images: num_images of them, or all if there are fewer.

    Args:
      candidates: the images that may be chosen, by path.
      num_images: how many are chosen.
      shares: share of the chosen images per camera; those not named share the
        rest.
      seed: sets the order of the images; the candidates' order has no effect.

    Raises:
      command.UserError: the cameras have too few images for their shares.
    """
    if not shares and num_images >= len(candidates):
        return set(candidates)
    sizes: dict[str, int] = {}
    for candidate in candidates.values():
        sizes[candidate.camera] = sizes.get(candidate.camera, 0) + 1
    left = quotas(sizes, shares, num_images)
    order = sorted(
        candidates,
        key=lambda p: hashlib.sha256(f"{seed}:select:{p}".encode()).digest(),
    )
    queues = _Queues(candidates, order, left)
    chosen: set[str] = set()
    totals = [0] * queues.num_classes
    num_empty = queues.num_empty * num_images // len(candidates)
    while len(chosen) < num_images:
        image = None
        if len(chosen) < num_empty:
            image = queues.next_empty(chosen)
        for index in sorted(range(len(totals)), key=totals.__getitem__):
            if image is None:
                image = queues.next_of_class(index, chosen)
        if image is None:
            image = queues.next_empty(chosen)
        assert image is not None  # each camera has enough: see quotas
        chosen.add(image)
        left[queues.camera(image)] -= 1
        for index, number in enumerate(candidates[image].counts):
            totals[index] += number
    return chosen


class _Queues:
    """The images of each class in order, less those that cannot be chosen."""

    def __init__(
        self,
        candidates: Mapping[str, Candidate],
        order: Sequence[str],
        left: Mapping[str, int],
    ) -> None:
        self._candidates = candidates
        self._left = left
        self.num_classes = len(candidates[order[0]].counts) if order else 0
        # From the end, so that taking one is cheap.
        self._of_class: list[list[str]] = [[] for _ in range(self.num_classes)]
        self._empty: list[str] = []
        for image in reversed(order):
            counts = candidates[image].counts
            for index, number in enumerate(counts):
                if number:
                    self._of_class[index].append(image)
            if not any(counts):
                self._empty.append(image)
        self.num_empty = len(self._empty)

    def camera(self, image: str) -> str:
        """Returns the camera whose number an image counts in."""
        camera = self._candidates[image].camera
        return camera if camera in self._left else _REST

    def next_of_class(self, index: int, chosen: set[str]) -> str | None:
        """Returns the next image of a class that can be chosen, or None."""
        return self._next(self._of_class[index], chosen)

    def next_empty(self, chosen: set[str]) -> str | None:
        """Returns the next image without objects, or None."""
        return self._next(self._empty, chosen)

    def _next(self, queue: list[str], chosen: set[str]) -> str | None:
        while queue:
            image = queue.pop()
            # A camera that has its number never gets another one.
            if image not in chosen and self._left[self.camera(image)] > 0:
                return image
        return None
