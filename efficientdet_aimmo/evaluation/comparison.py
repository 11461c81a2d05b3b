"""Pictures of ground truth beside detections for the images of a split."""

from __future__ import annotations

import itertools
import pathlib

from efficientdet_aimmo import pictures, weights
from efficientdet_aimmo.data import decode, exam, pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import prediction, saved
from efficientdet_aimmo.evaluation import progress as progress_lib
from tfrecord_tools import command


def show(
    *,
    model_dir: str,
    checkpoint_path: str | None,
    val_file_pattern: str,
    val_json_file: str | None,
    output_dir: str,
    max_images: int | None,
    min_score: float | None,
) -> str:
    """Draws the images of a split and returns a summary.

    Args:
      model_dir: what training wrote.
      checkpoint_path: a checkpoint; the newest of model_dir if None.
      val_file_pattern: the split's records.
      val_json_file: its COCO ground truth; the one beside the records if None.
      output_dir: gets a picture of each image, named by image id and file.
      max_images: draws the first of the records only; all if None.
      min_score: detections are drawn from this score on; the common threshold
        of the model's last evaluation if None.

    Raises:
      UserError: a part is missing or damaged, or the parts do not fit.
    """
    prediction.refuse_remote(output_dir)
    source = source_lib.open_source(val_file_pattern, "val_file_pattern")
    source_lib.check_records(source)
    truth = ground_truth_lib.load(
        saved.ground_truth_path(source, val_json_file)
    )
    model = weights.load_detector(model_dir, checkpoint_path)
    threshold = saved.drawing_threshold(model_dir, min_score)
    evaluator_lib.check_classes(model.class_names, truth)
    evaluator = evaluator_lib.Evaluator(
        model.detector, model.config, model.class_names
    )
    objects = truth.objects()
    total = min(source.counts.images, max_images or source.counts.images)
    progress = progress_lib.Progress("drawing")
    records = pipeline.read_records(sorted(source.files), len(source.files))
    images = (
        (decode.decode_image(encoded), source_id)
        for encoded, source_id in map(pipeline.parse_image, records)
    )
    some = itertools.islice(exam.whole(images, source.files), total)
    for number, (image, source_id) in enumerate(some, start=1):
        image_id = int(source_id.numpy())
        if image_id not in objects:
            raise command.UserError(
                command.ExitCode.DATA,
                f"The records have image {image_id}, {truth.source} has not."
                " Give the records and the COCO JSON of one split.",
            )
        pixels = image.numpy()
        found = prediction.detect(evaluator, pixels, model.config.data)
        name = pathlib.PurePath(truth.file_names[image_id]).stem
        prediction.save_picture(
            pictures.draw_comparison(
                pixels, objects[image_id], found, model.class_names, threshold
            ),
            # The id: file names repeat between folders.
            pathlib.Path(output_dir, f"{image_id:06d}-{name}.jpg"),
        )
        progress(number, total)
    return (
        f"{total} pictures of ground truth beside detections, from score"
        f" {threshold:.2f} on, in {output_dir}"
    )
