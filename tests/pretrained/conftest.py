"""A published checkpoint of a few tensors, served on loopback."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests import served as served_lib
from tests.pretrained import published


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    published.write_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def archive(checkpoint: pathlib.Path) -> bytes:
    return served_lib.packed(
        served_lib.folder_content(checkpoint, published.NAME)
    )


@pytest.fixture
def place(
    archive: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[published.Place]:
    # Whatever proxy the machine has, loopback is not asked through it.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served_lib.running() as served:
        served.files[published.PATH] = archive
        yield published.Place(served, tmp_path / "cache")
