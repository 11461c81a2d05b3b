"""How many shards there are, and what they are called."""

from __future__ import annotations

# Small enough that workers share the files evenly and shuffling by file means
# something, large enough that opening one costs nothing beside reading it.
TARGET_BYTES = 192 * 1024 * 1024


def count(num_images: int, mean_bytes: float, num_shards: int | None) -> int:
    """Returns the number of shards for a split.

    Args:
      num_images: records of the split.
      mean_bytes: size of one record.
      num_shards: the number that was asked for; None follows TARGET_BYTES.
    """
    if num_shards is None:
        num_shards = max(1, round(num_images * mean_bytes / TARGET_BYTES))
    return min(num_shards, num_images)


def slices(num_images: int, num_shards: int) -> list[int]:
    """Returns each image's shard: runs whose lengths differ by at most 1."""
    return [i * num_shards // num_images for i in range(num_images)]


def name(split: str, index: int, num_shards: int) -> str:
    """Returns a shard's file name."""
    return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"
