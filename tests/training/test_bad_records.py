"""A run on damaged records: ended or gone on with, and never uncounted."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
from typing import Any
from unittest import mock

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo import whole as whole_lib
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import bad_records, measure, monitor, start
from hparams import config as config_lib
from tests.training import test_loop, tiny
from tfrecord_tools import command, schema

SKIP = ",bad_records=skip,bad_records_max_share=0.5"
# Of 32 records in two shards of 16: two images and a record, and all from the
# eleventh of the second shard on.
NUM_BAD = 3 + 6

compiled_once = test_loop.compiled_once


class Runs(test_loop.Runs):
    """Runs on records whose shards need not be whole."""

    def settings(
        self, more: str = ""
    ) -> tuple[config_lib.Config, source_lib.Source]:
        train = source_lib.find_source(
            f"{self.records}/train-*.tfrecord", "train_file_pattern"
        )
        return start.fill_from_data(
            tiny.config(test_loop.SETTINGS + more), None, train
        ), train


def _damage(folder: pathlib.Path) -> None:
    """Damages training records in a copy of the converted ones."""
    first, second = sorted(folder.glob("train-*"))
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(first))]
    assert len(records) == 16
    for place, cut in ((4, True), (9, False)):
        example = tf.train.Example.FromString(records[place])
        value = example.features.feature[schema.ENCODED].bytes_list.value
        value[0] = value[0][:500] if cut else bytes(range(256)) * 9
        records[place] = example.SerializeToString()
    records[11] = b"no example"
    with tf.io.TFRecordWriter(str(first)) as writer:
        for record in records:
            writer.write(record)
    lengths = [
        len(r.numpy()) + 16 for r in tf.data.TFRecordDataset(str(second))
    ]
    assert len(lengths) == 16
    with second.open("r+b") as file:
        file.truncate(sum(lengths[:10]) + 100)


@pytest.fixture(scope="module")
def runs(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    records = tmp_path_factory.mktemp("damaged") / "records"
    shutil.copytree(street_records, records)
    _damage(records)
    return Runs(records, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(runs: Runs) -> pathlib.Path:
    return runs.train("whole", SKIP)


def test_a_killed_run_ends_as_one_that_was_not(
    runs: Runs, whole: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = json.loads((whole / "result.json").read_text())
    # Two epochs are eight steps: each record was drawn twice.
    assert result["bad_draws"] == 2 * NUM_BAD
    assert result["bad_records"] == NUM_BAD
    capsys.readouterr()
    folder, saved = test_loop._die_and_go_on(runs, "killed", 5, SKIP)
    assert saved == 4
    test_loop._same_end(folder, whole)
    name = bad_records.FILE
    assert (folder / name).read_bytes() == (whole / name).read_bytes()
    # Each is named once, also by a start that goes on.
    warned = re.findall(
        r"warning: .*\((.*), record (\d+)\) cannot be (\w+).*: skipped\.",
        capsys.readouterr().out,
    )
    first, second = (shard.name for shard in _shards(runs))
    assert sorted(warned) == sorted(
        [
            (first, "4", "decoded"),
            (first, "9", "decoded"),
            (first, "11", "parsed"),
            *((second, str(i), "read") for i in range(10, 16)),
        ]
    )


def _shards(runs: Runs) -> tuple[schema.Shard, ...]:
    return runs.settings()[1].counts.shards


def _error(runs: Runs, name: str, more: str) -> str:
    with pytest.raises(command.UserError) as caught:
        runs.train(name, more)
    assert caught.value.exit_code == 65
    return str(caught.value)


def test_by_default_the_first_bad_record_ends_the_run(
    runs: Runs, whole: pathlib.Path
) -> None:
    # As if all went well up to a checkpoint: the folder after step 4.
    folder = runs.folder / "failed"
    shutil.copytree(whole, folder)
    for step in (6, 8):
        shutil.rmtree(folder / "checkpoints" / f"step-{step:08}")
    said = _error(runs, "failed", "")
    assert re.match(
        r"(Image \d+|An image) \(train-0000\d-of-00002.tfrecord, record \d+\)"
        r" cannot be \w+: .* The last checkpoint is intact\. .*"
        r" --bad_records=skip ",
        said,
    )
    newest, faults = checkpoint.latest(str(folder))
    assert newest is not None
    assert (newest.step, faults) == (4, [])


def test_too_large_a_share_ends_the_run(runs: Runs) -> None:
    # Two of an epoch's 32 images are allowed.
    more = ",bad_records=skip,bad_records_max_share=0.07"
    said = _error(runs, "too many", more)
    count = int(said.split(" ", maxsplit=1)[0])
    assert count > 2
    assert said.startswith(
        f"{count} of 32 images drawn are bad, {count / 32:.2%};"
        " bad_records_max_share allows 7.00%. Checkpoints are intact."
    )


def test_checkpoints_from_before_bad_records_were_counted(
    tmp_path: pathlib.Path,
) -> None:
    trainer = tiny.Trainer()
    variables = trainer.state.variables()
    meta = checkpoint.Meta(trainer.config, ("car",), "", "")
    del variables[checkpoint.BAD_DRAWS]
    trainer.state.bad_draws.assign(7)
    path = checkpoint.save(str(tmp_path), 3, variables, meta, 1)
    # The configuration lacks what says how bad records are met.
    name = pathlib.Path(path, whole_lib.META)
    content = json.loads(name.read_text())
    del content["checksum"]  # which older ones do not have
    for leaf in ("bad_records", "bad_records_max_share"):
        del content["config"]["runtime"][leaf]
    name.write_text(json.dumps(content))
    found = checkpoint.open_checkpoint(path)
    assert found.meta.config == trainer.config
    trainer.state.assign(found.values_for(trainer.state.variables()))
    assert int(trainer.state.bad_draws) == 0


def test_a_validation_record_always_ends_the_run(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, damaged = runs.settings()
    measured = measure.Measurer.measure

    def of_damaged(self: measure.Measurer, *arguments: Any) -> None:
        size = self._config.eval.eval_batch_size
        batches = pipeline.build_eval_dataset(damaged.files, self._config, size)
        with mock.patch.multiple(self, _val=damaged, _batches=batches):
            measured(self, *arguments)

    monkeypatch.setattr(measure.Measurer, "measure", of_damaged)
    said = _error(runs, "val", SKIP)
    assert re.match(
        r"Image \d+ \(train-00000-of-00002.tfrecord, record 4\) cannot be"
        r" decoded: .* Every record counts where a model is measured",
        said,
    )


@dataclasses.dataclass
class _State:
    """As much of a state as is counted in."""

    step: tf.Variable
    bad_draws: tf.Variable


def _watch(
    folder: pathlib.Path, source: source_lib.Source, settings: str
) -> bad_records.Watch:
    shown = monitor.Monitor(
        str(folder), num_steps=1, start_step=0, batch_size=2, log_steps=1
    )
    state = _State(
        *(tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))
    )
    config = tiny.config(settings.removeprefix(","))
    return bad_records.Watch(
        iter([tiny.batch()]),
        config,
        source.counts.images,
        str(folder),
        state,  # type: ignore[arg-type]
        shown,
        replicas.single(),
        keeps_list=True,
    )


def test_what_is_not_to_be_gone_on_with(
    runs: Runs, tmp_path: pathlib.Path
) -> None:
    _, source = runs.settings()
    first = source.files[0]
    watch = _watch(tmp_path, source, SKIP)
    with pytest.raises(command.UserError, match=r"All 2 images of step 0 are"):
        watch.note([f"{first}#4", f"{first}#9"])
    with pytest.raises(command.UserError, match=r"record 5 could not be used"):
        watch.note([f"{first}#5"])
    assert watch.draw() is not None
    assert watch.counts() == {"bad_draws": 0, "bad_records": 2}
    (tmp_path / bad_records.FILE).write_text("{")
    with pytest.raises(command.UserError, match="Remove it") as caught:
        _watch(tmp_path, source, SKIP)
    assert caught.value.exit_code == 73


def test_an_error_of_the_storage_is_one_message(
    runs: Runs, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, source = runs.settings()
    watch = _watch(tmp_path, source, SKIP)

    def refuse(_: object) -> None:
        raise tf.errors.UnavailableError(None, None, "no such host")

    monkeypatch.setattr(watch, "note", refuse)
    with pytest.raises(command.UserError, match=r"\(no such host\)") as caught:
        watch.draw()
    assert caught.value.exit_code == 65
