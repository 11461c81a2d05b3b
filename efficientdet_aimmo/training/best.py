"""The checkpoint with the best AP, kept apart from the newest ones."""

from __future__ import annotations

import json
import os
import shutil

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.evaluation import report

FOLDER = "best"  # in the model_dir


def find(model_dir: str) -> checkpoint.Checkpoint | None:
    """Returns the checkpoint that is kept, None without a whole one."""
    folder = os.path.join(model_dir, FOLDER)
    if not os.path.isdir(folder):
        return None
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    whole = [path for path in paths if checkpoint.is_whole(path)]
    return checkpoint.open_checkpoint(whole[-1]) if whole else None


def _best_ap(model_dir: str) -> float | None:
    """Returns the AP of the checkpoint that is kept, None without one."""
    found = find(model_dir)
    if found is None:
        return None
    folder = os.path.join(model_dir, report.FOLDER)
    try:
        with open(report.path_of(folder, found.step), encoding="utf-8") as file:
            return float(json.load(file)["metrics"]["ap"])
    except (OSError, ValueError, KeyError, TypeError):
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
    best = _best_ap(model_dir)
    if ap is None or (best is not None and ap <= best):
        return False
    path = checkpoint.path_of(model_dir, step)
    parent, name = os.path.join(model_dir, FOLDER), os.path.basename(path)
    final, beside = os.path.join(parent, name), os.path.join(parent, ".writing")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(path, beside, copy_function=_link)
    shutil.rmtree(final, ignore_errors=True)
    os.rename(beside, final)
    checkpoint.flush(parent)
    for other in os.listdir(parent):
        if other != name:
            shutil.rmtree(os.path.join(parent, other))
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or its limit
        shutil.copyfile(source, target)
        checkpoint.flush(target)
