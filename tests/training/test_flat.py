"""A training takes no more of its machine the longer it goes on.

benchmarks/flat.py looks at 2,000 steps of a detector. Here is all that is
around a step: records, monitor, checkpoints, evaluations and pictures.
"""

from __future__ import annotations

import gc
import pathlib

import pytest
from tensorflow.python.eager import context

from benchmarks import flat
from tests.hparams import witness_records
from tests.training import counting

EVERY = 16  # steps between evaluations: eight epochs


def test_a_training_is_flat(
    street_records: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "model").mkdir()
    runs = counting.Runs(
        witness_records.make_records(street_records, tmp_path),
        tmp_path / "model",
    )
    runs.install(monkeypatch)
    functions: list[int] = []
    objects: list[int] = []

    def count(step: int) -> None:
        if step % EVERY == 0:
            functions.append(len(context.context().list_function_names()))
            objects.append(len(gc.get_objects()))

    runs.in_step = count
    # Python's collector would hide what only it removes, some of the time.
    gc.collect()
    gc.disable()
    try:
        with flat.sample_steps(EVERY) as samples:
            runs.train(
                f"num_epochs=33,map_freq=8,save_checkpoints_steps={EVERY},"
                "num_pictures=2"
            )
    finally:
        gc.enable()
    assert [each.step for each in samples] == [16, 32, 48, 64]
    assert len(runs.evaluated()) == 5
    # The first evaluation makes its graphs; after that nothing is to come. How
    # memory is given out has not settled after so few steps.
    assert len({(each.files, each.threads) for each in samples[1:]}) == 1
    assert len(set(functions[1:])) == 1, functions
    assert objects[-1] - objects[1] < 200 * (len(objects) - 2), objects


def test_what_grows_is_named() -> None:
    def grown(memory_mb: float, files: int, threads: int) -> list[str]:
        samples = [
            flat.Sample(1, 1.0, 1, 1),  # before it has settled
            flat.Sample(2, 1000.0, 10, 20),
            flat.Sample(3, memory_mb, files, threads),
        ]
        return flat.faults(samples, settled=2)

    assert grown(1019.0, 10, 20) == []
    assert grown(1021.0, 10, 20) == ["memory grew by 2.1%"]
    assert grown(500.0, 11, 20) == ["files: from 10 to 11"]
    assert grown(500.0, 10, 19) == ["threads: from 19 to 20"]
