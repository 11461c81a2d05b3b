"""Which rows of a batch a process takes."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """The rows of every batch that a process takes, and how many at once."""

    rows: slice
    size: int  # a replica's rows, a divisor of those taken

    @property
    def num_rows(self) -> int:
        """Rows that the process takes."""
        return self.rows.stop - self.rows.start


def whole(batch_size: int) -> Share:
    """Returns the share of the only device: all rows, at once."""
    return Share(slice(0, batch_size), batch_size)
