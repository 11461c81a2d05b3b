"""The checkpoint with the best AP, kept apart from the newest ones."""

from __future__ import annotations

import json
import posixpath

from efficientdet_aimmo import checkpoint, whole
from efficientdet_aimmo.evaluation import report
from tfrecord_tools import storage

FOLDER = "best"  # in the model_dir


def find(model_dir: str) -> checkpoint.Checkpoint | None:
    """Returns the checkpoint that is kept, None without a whole one."""
    return _search(model_dir)[0]


def _search(model_dir: str) -> tuple[checkpoint.Checkpoint | None, list[str]]:
    """Returns the checkpoint that is kept, and the faults of damaged ones."""
    folder = storage.join(model_dir, FOLDER)
    with whole.reached(folder):
        names = [n for n in storage.names(folder) if not n.startswith(".")]
        if storage.is_remote(folder):  # unfinished is absent there
            names = [
                n for n in names if whole.has_meta(storage.join(folder, n))
            ]
    faults: list[str] = []
    for name in reversed(names):
        try:
            path = storage.join(folder, name)
            return checkpoint.open_checkpoint(path), faults
        except checkpoint.CheckpointError as error:
            faults.append(str(error))
    return None, faults


def _ap_of(model_dir: str, step: int) -> float | None:
    """Returns the AP in a step's report, None without a report."""
    folder = storage.join(model_dir, report.FOLDER)
    try:
        content = storage.read_bytes(report.path_of(folder, step))
        return float(json.loads(content)["metrics"]["ap"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # somebody removed the report: the next one is better


def keep(model_dir: str, step: int, ap: float | None) -> bool:
    """Keeps a step's checkpoint apart if it is better than the one kept.

    The copy is whole or absent, and takes no room where the disk has links. A
    run that is killed here measures and compares again.

    Args:
      model_dir: the run's folder; the step's checkpoint is in it.
      step: steps done.
      ap: COCO's AP of it; None if there is none.

    Returns:
      Whether it is the best.

    Raises:
      OSError: the disk is full or not writable; the old copy is intact.
    """
    found, faults = _search(model_dir)
    for fault in faults:
        print(f"warning: {fault} The next best takes its place.", flush=True)
    best = None if found is None else _ap_of(model_dir, found.step)
    is_best = ap is not None and (best is None or ap > best)
    if not is_best and found is None:
        return False
    parent = storage.join(model_dir, FOLDER)
    kept = step if found is None or is_best else found.step
    path = checkpoint.path_of(model_dir, kept)
    name = posixpath.basename(path)
    if kept != (found and found.step):  # a step has one state
        whole.copy_folder(path, storage.join(parent, name))
    whole.remove_leftovers(parent)
    for other in storage.names(parent):
        if other != name and not other.startswith("."):
            whole.remove_folder(storage.join(parent, other))
    return is_best
