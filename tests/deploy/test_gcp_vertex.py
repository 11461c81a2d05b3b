"""The custom job of Vertex AI has the documented fields and real flags."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from efficientdet_aimmo import official_flags, train
from tests.deploy import machines


def _object(required: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
# The fields that the reference has, for what is used here, and no others:
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec,
# .../MachineSpec, .../DiskSpec.
SCHEMA = _object(
    "workerPoolSpecs",
    workerPoolSpecs={
        "type": "array",
        "minItems": 1,
        "items": _object(
            "machineSpec containerSpec",
            replicaCount=_COUNT,
            machineSpec=_object(
                "machineType",
                machineType=_TEXT,
                acceleratorType={
                    "enum": ["NVIDIA_TESLA_V100", "NVIDIA_TESLA_T4"]
                },
                acceleratorCount=_COUNT,
            ),
            diskSpec=_object(
                "",
                bootDiskType={"enum": ["pd-ssd", "pd-standard"]},
                bootDiskSizeGb={"type": "integer", "minimum": 100},
            ),
            containerSpec=_object(
                "imageUri",
                imageUri=_TEXT,
                command={"type": "array", "items": _TEXT},
                args={"type": "array", "items": _TEXT},
                env={"type": "array"},
            ),
        ),
    },
    scheduling=_object(
        "",
        timeout={"type": "string", "pattern": r"^\d+s$"},
        restartJobOnWorkerRestart={"type": "boolean"},
        strategy={"enum": ["STANDARD", "SPOT", "FLEX_START"]},
    ),
    serviceAccount=_TEXT,
    baseOutputDirectory=_object("outputUriPrefix", outputUriPrefix=_TEXT),
)


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    text = (machines.GCP / "vertex.yaml").read_text()
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def test_its_fields_are_those_of_the_reference(job: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(job, SCHEMA)


def test_it_trains_on_one_gpu_with_flags_that_there_are(
    job: dict[str, Any],
) -> None:
    (pool,) = job["workerPoolSpecs"]
    assert pool["machineSpec"]["machineType"].startswith("n1-")
    assert pool["machineSpec"]["acceleratorCount"] == 1
    word, *flags = pool["containerSpec"]["args"]
    assert word == "train"
    names = {f.removeprefix("--").partition("=")[0] for f in flags}
    assert names <= set(train.FLAGS)
    assert not names & set(official_flags.REFUSED)
    assert "command" not in pool["containerSpec"]
    given = dict(f.removeprefix("--").split("=", 1) for f in flags)
    # Nothing stays on a job's disk.
    assert given["model_dir"].startswith("gs://")


def test_it_says_that_it_was_never_run() -> None:
    text = (machines.GCP / "vertex.yaml").read_text()
    assert "Never run" in text
