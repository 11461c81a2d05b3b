"""A trained model_dir measured on a split."""

from __future__ import annotations

import os
from collections.abc import Mapping

from efficientdet_aimmo import weights
from efficientdet_aimmo.data import exam, pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.diagnosis import gate
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import progress as progress_lib
from efficientdet_aimmo.evaluation import report as report_lib
from tfrecord_tools import command, storage


def ground_truth_path(source: source_lib.Source, given: str | None) -> str:
    """Returns the COCO JSON given, or the one that belongs to the records."""
    if given is not None:
        return given
    folder = os.path.dirname(source.files[0])
    return os.path.join(folder, f"{source.split}.json")


def evaluate(
    *,
    model_dir: str,
    checkpoint_path: str | None,
    val_file_pattern: str,
    val_json_file: str | None,
    eval_batch_size: int | None,
    allow_cpu: bool,
    environment: Mapping[str, str],
) -> report_lib.Report:
    """Returns the accuracy of a saved model, as training would report it.

    Args:
      model_dir: what training wrote.
      checkpoint_path: a checkpoint; the newest of model_dir if None.
      val_file_pattern: the split's records.
      val_json_file: its COCO ground truth; the one beside the records if None.
      eval_batch_size: images at once; as in training if None.
      allow_cpu: whether to compute without a GPU.
      environment: the process's environment variables.

    Raises:
      UserError: a part is missing or damaged, or the parts do not fit.
    """
    source = source_lib.open_source(val_file_pattern, "val_file_pattern")
    gate.require_gpu(allow_cpu=allow_cpu, environment=environment)
    source_lib.check_records(source)
    path = ground_truth_path(source, val_json_file)
    truth = ground_truth_lib.load(path)
    model = weights.load_detector(model_dir, checkpoint_path)
    evaluator = evaluator_lib.Evaluator(
        model.detector, model.config, model.class_names
    )
    batch_size = eval_batch_size or model.config.eval.eval_batch_size
    batches = pipeline.build_eval_dataset(
        source.files, model.config, batch_size
    )
    found = evaluator.run(
        exam.whole(batches, source.files),
        truth,
        progress_lib.Progress("evaluating"),
    )
    return report_lib.Report(
        step=model.step,
        ground_truth=os.path.basename(path),
        metrics=found.metrics,
        alarms=found.alarms,
    )


def drawing_threshold(model_dir: str, min_score: float | None) -> float:
    """Returns the score from which detections are drawn.

    Args:
      model_dir: what training wrote.
      min_score: the value given, or None for the common threshold of the
        model's last evaluation.

    Raises:
      UserError: no value is given and no evaluation has found one.
    """
    if min_score is not None:
        return min_score
    last = report_lib.latest(storage.join(model_dir, report_lib.FOLDER))
    if last is None or last.metrics.overall.threshold is None:
        reason = "no evaluation" if last is None else "no useful threshold yet"
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{model_dir} has {reason}, so --min_score is needed: detections"
            " below it are not drawn (for example --min_score=0.3).",
        )
    return last.metrics.overall.threshold
