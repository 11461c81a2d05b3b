"""From the facts of a machine to the rows of the table."""

from __future__ import annotations

from efficientdet_aimmo.diagnosis import (
    driver,
    facts,
    judging_driver,
    judging_gpu,
    judging_host,
    judging_software,
    rows,
)


def judge(found: facts.Facts) -> rows.Judgement:
    """Returns what fits and what does not, and what to do about it."""
    gpu, not_judged = _gpu_rows(found)
    software = [
        judging_software.tensorflow_row(found),
        judging_software.keras_row(found),
        judging_software.wheel_row(found),
        *judging_software.library_rows(found),
    ]
    if found.tensorflow is not None:
        given = found.variable("CUDA_VISIBLE_DEVICES")
        count = len(found.cuda.gpus)
        if given is not None:
            count = judging_gpu.num_visible(given, count)
        software.append(judging_software.seen_row(found, count))
    return rows.Judgement(
        rows=(
            *gpu,
            *software,
            *judging_host.host_rows(found),
            judging_software.tensorboard_row(found),
        ),
        not_judged=tuple(not_judged),
    )


def _gpu_rows(found: facts.Facts) -> tuple[list[rows.Row], list[str]]:
    """Returns rows, and what cannot be judged as something before is broken."""
    card = judging_driver.card_row(found)
    judged = [card, *judging_driver.container_rows(found)]
    rest = ["driver", "nvidia-smi", "libcuda"]
    later = ["CUDA_VISIBLE_DEVICES", "MIG", "compute capability"]
    if card.verdict == "broken" and not driver.is_shown(found.kernel):
        return judged, rest + later
    if judging_driver.is_closed_container(found):
        # The driver's version is the host's, and shown where it can be.
        if found.kernel.driver:
            judged.append(judging_driver.module_row(found))
            rest.remove("driver")
        return judged, rest + later
    module = judging_driver.module_row(found)
    judged.append(module)
    if module.verdict == "broken" and not judging_driver.driver_version(found):
        if not found.smi.found:
            return judged, rest[1:] + later
        judged.append(judging_driver.smi_row(found))
        return judged, rest[2:] + later
    judged += [
        judging_driver.smi_row(found),
        judging_driver.cuda_row(found),
        *judging_gpu.mig_rows(found),
    ]
    if not found.cuda.gpus and not found.smi.gpus:
        return judged, [later[0], later[2]]
    capability = judging_gpu.capability_rows(found)
    judged += [judging_gpu.visible_row(found), *capability]
    return judged, [] if capability else [later[2]]
