"""A step whose loss or gradient is not finite: kept, told, done again.

The folder MODEL_DIR/nan/<step> holds all that the step followed from: the
batch, the weights and the configuration. What it reported stands beside, so
that a replay can be held against it.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import checkpoint, whole
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.model import profile
from efficientdet_aimmo.training import accumulation
from efficientdet_aimmo.training import gradients as gradients_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib
from tfrecord_tools import command, storage

_FOLDER = "nan"
_BATCH = "batch.npz"
_TERMS = "terms.json"
_MOST_NAMES = 5


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a step reported.

    Attributes:
      step: steps done before it.
      terms: the loss, term by term, and the norm of all gradients.
      part_norms: the norm of the gradients of each part of the network.
      image_ids: the images of the batch.
      bad_images: those with a pixel that is not finite.
      bad_gradients: the first variables whose gradient is not finite.
    """

    step: int
    terms: dict[str, float]
    part_norms: dict[str, float]
    image_ids: list[str]
    bad_images: list[str]
    bad_gradients: list[str]


def folder_of(model_dir: str, step: int) -> str:
    """Returns the folder that keeps a refused step."""
    return storage.join(model_dir, _FOLDER, str(step))


def _measure(
    config: config_lib.Config,
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    is_thawed: bool,
) -> Terms:
    """Does the step again, line by line; changes nothing."""
    anchors = anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    frozen = frozenset() if is_thawed else state.frozen
    found = accumulation.compute_gradients(
        state, batch, tf.constant(anchors), config, frozen
    )
    trained = gradients_lib.trained(state, frozen)
    norms = {
        v.name.removesuffix(":0"): float(tf.norm(tf.convert_to_tensor(g)))
        for v, g in zip(trained, found.values, strict=True)
    }
    squares = dict.fromkeys(profile.PARTS, 0.0)
    for name, norm in norms.items():
        squares[profile.part_of(name)] += norm**2
    ids = [value.decode() for value in batch.source_ids.numpy()]
    is_finite = np.isfinite(batch.images.numpy()).all(axis=(1, 2, 3))
    return Terms(
        step=int(state.step.numpy()),
        terms={
            "class_loss": float(found.class_loss),
            "box_loss": float(found.box_loss),
            "iou_loss": float(found.iou_loss),
            "l2_loss": float(found.l2_loss),
            "total_loss": float(found.total_loss),
            "gradient_norm": math.sqrt(sum(squares.values())),
            "num_positives": float(found.num_positives),
        },
        part_norms={part: math.sqrt(value) for part, value in squares.items()},
        image_ids=ids,
        bad_images=[i for i, ok in zip(ids, is_finite, strict=True) if not ok],
        bad_gradients=[n for n, v in norms.items() if not math.isfinite(v)][
            :_MOST_NAMES
        ],
    )


def _on_one_device(
    config: config_lib.Config, state: state_lib.TrainState
) -> state_lib.TrainState:
    """Returns a state that has one copy of everything."""
    if state.strategy.num_replicas_in_sync == 1:
        return state
    own = state_lib.TrainState(config)
    own.assign({k: v.numpy() for k, v in state.variables().items()})
    return own


def _followed_from(state: state_lib.TrainState) -> list[tf.Variable]:
    """Returns the variables from which a step's report follows."""
    scale = [] if state.loss_scale is None else [state.loss_scale.value]
    return [*state.detector.all_variables, state.step, *scale]


def keep(
    model_dir: str,
    config: config_lib.Config,
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    class_names: tuple[str, ...],
    thaw_step: int,
) -> Terms:
    """Keeps a refused step and returns what it reports.

    Args:
      model_dir: the run's folder.
      config: the run's configuration.
      state: as it was before the step, which left it so.
      batch: the batch.
      class_names: class 0 first.
      thaw_step: the first step that trains frozen variables; 0 for never.

    Raises:
      UserError: the disk is full or cannot be written.
    """
    step = int(state.step.numpy())
    state = _on_one_device(config, state)
    found = _measure(config, state, batch, bool(0 < thaw_step <= step))
    folder = folder_of(model_dir, step)
    weights = _followed_from(state)
    try:
        arrays = io.BytesIO()
        np.savez(arrays, **_arrays(batch))
        whole.write_file(storage.join(folder, _BATCH), arrays.getvalue())
        checkpoint.save(
            folder,
            step,
            {state_lib.variable_name(v): v for v in weights},
            checkpoint.Meta(config, class_names, "", ""),
            1,
        )
        content = {**dataclasses.asdict(found), "thaw_step": thaw_step}
        report.write_whole(
            storage.join(folder, _TERMS), json.dumps(content, indent=1) + "\n"
        )
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"Step {step} is not finite and cannot be kept in {folder}"
            f" ({error}). Make room and give the same command.",
        ) from error
    return found


def _arrays(batch: pipeline.TrainBatch) -> dict[str, np.ndarray]:
    """Returns arrays that NumPy stores without pickling."""
    arrays = {name: v.numpy() for name, v in batch._asdict().items()}
    return {
        name: array.astype(np.bytes_) if array.dtype == object else array
        for name, array in arrays.items()
    }


def describe(found: Terms, folder: str) -> str:
    """Returns what a refused step reported, in one sentence or two."""
    terms = ", ".join(f"{k} {v:.6g}" for k, v in found.terms.items())
    images = ""
    if found.bad_images:
        images = (
            " Pixels that are not finite: images"
            f" {', '.join(found.bad_images[:_MOST_NAMES])}."
        )
    return (
        f"Step {found.step} gave a loss or gradient that is not finite"
        f" ({terms}).{images} It was refused: no weight has changed. What it"
        f" followed from is in {folder}: python -m efficientdet_aimmo.replay"
        f" {folder}"
    )


def diverged(description: str, num_skipped: int) -> command.UserError:
    """Returns the error of a run that stops at a refused step.

    Args:
      description: of the step.
      num_skipped: refused steps before it that were skipped.
    """
    before = f" {num_skipped} such steps were skipped." if num_skipped else ""
    return command.UserError(
        command.ExitCode.DIVERGED,
        f"{description}.{before} Try a lower learning_rate or a"
        " longer lr_warmup_epoch.",
    )


def load(folder: str) -> tuple[Terms, int]:
    """Returns what a kept step reported, and the first thawed step.

    Raises:
      UserError: the folder does not hold a kept step.
    """
    path = storage.join(folder, _TERMS)
    try:
        content = json.loads(storage.read_bytes(path))
        thaw_step = content.pop("thaw_step")
        return Terms(**content), thaw_step
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{path} cannot be read ({type(error).__name__}: {error}). Expected"
            " a folder MODEL_DIR/nan/STEP that a training run left.",
        ) from error


def replay(folder: str) -> Terms:
    """Does a kept step again and returns what it reports now.

    Raises:
      UserError: the folder does not hold a kept step, or it is damaged.
    """
    _, thaw_step = load(folder)
    found, faults = checkpoint.latest(folder)
    if found is None:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{folder} has no whole checkpoint. {' '.join(faults)} Expected the"
            " weights that the step began with.",
        )
    config = found.meta.config
    state = state_lib.TrainState(config)
    values = found.values()
    for variable in _followed_from(state):
        variable.assign(values[state_lib.variable_name(variable)])
    path = storage.join(folder, _BATCH)
    with whole.reached(path):
        content = io.BytesIO(storage.read_bytes(path))
    with np.load(content) as arrays:
        batch = pipeline.TrainBatch(
            **{name: tf.constant(array) for name, array in arrays.items()}
        )
    return _measure(config, state, batch, 0 < thaw_step <= found.step)


def compare(then: Terms, now: Terms) -> tuple[str, bool]:
    """Returns a table of both, and whether they agree.

    Numbers agree within 0.1 %: another machine adds up in another order.
    """
    pairs = [
        *((k, v, now.terms[k]) for k, v in then.terms.items()),
        *(
            (f"gradient norm, {k}", v, now.part_norms[k])
            for k, v in then.part_norms.items()
        ),
    ]
    lines = [f"{'':<28}{'then':>14}{'now':>14}"]
    lines += [f"{name:<28}{a:>14.6g}{b:>14.6g}" for name, a, b in pairs]
    for title, names in (
        ("images of the batch", now.image_ids),
        ("images not finite", now.bad_images),
        ("gradients not finite, first", now.bad_gradients),
    ):
        lines.append(f"{title}: {', '.join(names) or 'none'}")
    return "\n".join(lines), all(_agrees(a, b) for _, a, b in pairs)


def _agrees(first: float, second: float) -> bool:
    if math.isfinite(first) and math.isfinite(second):
        return math.isclose(first, second, rel_tol=1e-3, abs_tol=1e-6)
    # Infinite and undefined are one fault, met in another order.
    return math.isfinite(first) == math.isfinite(second)
