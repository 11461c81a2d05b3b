"""The weights that a run begins with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf

from efficientdet_aimmo import checkpoint as checkpoint_lib
from efficientdet_aimmo.pretrained import download, files, loading
from tfrecord_tools import command


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """Weights that are there, and what is to be taken of them.

    Attributes:
      place: where they lie.
      is_backbone: of the backbone alone.
      heads: one of loading.HEADS.
    """

    place: files.Place
    is_backbone: bool
    heads: str

    def load(
        self, variables: Sequence[tf.Variable], class_names: Sequence[str]
    ) -> loading.LoadReport:
        """Gives a network's variables the weights, and returns the report.

        Args:
          variables: of the whole network, moving statistics included.
          class_names: of the network, class 0 first.

        Raises:
          UserError: the weights are damaged or do not fit; no variable has
            changed.
        """
        names = [v.name.removesuffix(":0") for v in variables]
        if self.is_backbone:
            names = [n for n in names if loading.part_of(n) == loading.BACKBONE]
        found = files.read(self.place, names)
        if self.is_backbone:
            report = loading.plan_backbone(self.place.path, found, variables)
        else:
            report = loading.plan(
                self.place.path, found, variables, class_names, self.heads
            )
        loading.check(report)
        report.assign(variables)
        return report


def choose(
    ckpt: str | None,
    backbone_ckpt: str | None,
    heads: str,
    model_dir: str,
    environment: Mapping[str, str],
) -> WarmStart | None:
    """Returns what a run begins with; fetches published weights.

    Args:
      ckpt: weights of a detector, a path or a published name, or None.
      backbone_ckpt: weights of a backbone, likewise.
      heads: one of loading.HEADS.
      model_dir: of the run; one that has a checkpoint goes on from that.
      environment: the process's, which says where fetched files are kept.

    Raises:
      UserError: there are no such weights, or they cannot be fetched.
    """
    given = ckpt or backbone_ckpt
    if not given:
        return None
    if ckpt and backbone_ckpt:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--ckpt={ckpt} and --backbone_ckpt={backbone_ckpt} were both"
            " given. The weights of a detector hold its backbone: give one of"
            " them.",
        )
    flag = "ckpt" if ckpt else "backbone_ckpt"
    if checkpoint_lib.latest(model_dir)[0] is not None:
        print(
            f"--{flag}={given} is not read: the run goes on from its own"
            " checkpoint.",
            flush=True,
        )
        return None
    place = files.locate(resolve(given, flag, environment))
    return WarmStart(place, flag == "backbone_ckpt", heads)


def resolve(given: str, flag: str, environment: Mapping[str, str]) -> str:
    """Returns the path of weights given as a path or a published name.

    Args:
      given: a path, or the name of published weights, which are fetched.
      flag: ckpt or backbone_ckpt: which kind of name is meant.
      environment: the process's, which says where fetched files are kept.

    Raises:
      UserError: the name is of the other kind, or cannot be fetched.
    """
    is_path = any(map(os.path.exists, (given, f"{given}.index")))
    if is_path or not given.startswith("efficient") or os.sep in given:
        return given
    kind = download.kind_of(given)
    wanted = "detector" if flag == "ckpt" else "backbone"
    if kind not in (None, wanted):
        other = "backbone_ckpt" if flag == "ckpt" else "ckpt"
        raise command.UserError(
            command.ExitCode.USAGE,
            f"--{flag}={given} names the published weights of a {kind},"
            f" expected those of a {wanted}. Use --{other}={given}.",
        )
    return download.fetch(given, download.default_cache_dir(environment))
