"""The devices that share a run: how many, which, and what they agree on.

A replica is one device's copy of the variables. Every replica takes its own
rows of each batch, all end a step with the same values, and the result is that
of one device with the whole batch. Worker 0 is the chief: it alone writes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo import shares
from tfrecord_tools import command

# What a collective operation raises when another worker is gone, or has given
# up because it misses one.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution:
    """How a run is spread.

    Attributes:
      strategy: of TensorFlow; its default one where there is one device.
      num_workers: processes of the run.
      worker: the place of this one among them.
    """

    strategy: tf.distribute.Strategy
    num_workers: int = 1
    worker: int = 0

    @property
    def num_replicas(self) -> int:
        """Replicas on all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what the run leaves."""
        return self.worker == 0

    def share_of(self, batch_size: int) -> shares.Share:
        """Returns this worker's rows of every batch, and a replica's number."""
        count = batch_size // self.num_workers
        rows = slice(self.worker * count, (self.worker + 1) * count)
        return shares.Share(rows, batch_size // self.num_replicas)

    def share_out(
        self, rows: tf.data.Dataset
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns a data set whose elements hold a batch for each replica.

        Args:
          rows: batches of one replica; this worker's replicas take them in
            turn.
        """
        # Image ids are text, which stays on the host.
        options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
        return self.strategy.distribute_datasets_from_function(
            lambda _: rows, options
        )

    def any(self, flag: bool) -> bool:
        """Returns whether a flag is set on any worker; all must ask."""
        return max(self.gather_numbers(int(flag))) > 0

    def check_same(self, differences: dict[str, int]) -> None:
        """Raises UserError unless all workers give the same numbers.

        Args:
          differences: numbers, 31 bits each, by what they stand for.
        """
        if self.num_workers == 1:
            return
        for what, number in differences.items():
            found = self.gather_numbers(number)
            others = [i for i, n in enumerate(found) if n != number]
            if others:
                raise command.UserError(
                    command.ExitCode.USAGE,
                    f"Worker {self.worker} and worker {others[0]} differ in"
                    f" {what}. Give every worker the same command but for"
                    " --worker_index, the same records, and one --model_dir"
                    " that all can read.",
                )

    def has_lost(self, error: BaseException) -> bool:
        """Returns whether an error says that another worker is gone."""
        return self.num_workers > 1 and isinstance(error, LOST)

    def gather_numbers(self, number: int) -> list[int]:
        """Returns the number that each worker gives; all must ask."""
        if self.num_workers == 1:
            return [number]
        row = tf.one_hot(self.worker, self.num_workers, number, 0)
        return [int(n) for n in self._add_up(row)]

    @functools.cached_property
    def _add_up(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function: the sums over all workers of int32 numbers."""
        own = self.num_replicas // self.num_workers
        strategy = self.strategy

        def on_replica(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group % own == 0
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.where(is_first, value, 0)
            )

        @tf.function(autograph=False)
        def add_up(value: tf.Tensor) -> tf.Tensor:
            found = strategy.run(on_replica, args=(value,))
            return strategy.experimental_local_results(found)[0]

        return add_up


def to_all(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the rows of all replicas, in order; called by each of them.

    Args:
      values: numbers of the replica's rows, [B, ...], B the same everywhere.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return list(values)
    # Collective operations want to know the device: that of a copy made here.
    return [context.all_gather(tf.identity(value), axis=0) for value in values]


def lost_peer(error: tf.errors.OpError) -> command.UserError:
    """Returns what to tell when another worker is gone."""
    return command.UserError(
        command.ExitCode.STOPPED,
        f"Another worker of the run is gone, or froze ({_first_line(error)})."
        " This one stops as well; what is not in the last checkpoint is"
        " computed again. Start all workers with the same commands to go on.",
    )


def _first_line(error: tf.errors.OpError) -> str:
    """Returns what of a message, which begins with a trace, says it."""
    lines = [line.strip() for line in error.message.splitlines()]
    telling = [x for x in lines if "aborted by" in x or "/job:" in x]
    return (telling or [x for x in reversed(lines) if x] or [""])[0]


def single() -> Distribution:
    """Returns one device, TensorFlow's choice."""
    return Distribution(strategy=tf.distribute.get_strategy())
