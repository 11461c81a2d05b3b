"""The official EfficientDet's settings, as a file of numbers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

_FILE = pathlib.Path(__file__).parents[1] / "data" / "official_keys.json"


@pytest.fixture(scope="session")
def official_settings() -> dict[str, Any]:
    """{'defaults', 'models', 'voc_config'}: keys and values of each."""
    found: dict[str, Any] = json.loads(_FILE.read_text())
    return found


@pytest.fixture(scope="session")
def official_defaults(official_settings: dict[str, Any]) -> dict[str, Any]:
    """Every official key with its default; nms_configs is a mapping."""
    found: dict[str, Any] = official_settings["defaults"]
    return found
