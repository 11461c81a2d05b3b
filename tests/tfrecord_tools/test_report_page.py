"""The report's page: its figures, its pictures, and names that are hostile."""

from __future__ import annotations

import dataclasses
import html.parser
import pathlib
import re
import shlex
from collections.abc import Sequence

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import (
    page_html,
    report_page,
    schema,
)

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
KOREAN = "한국어_주행"


class _Page(html.parser.HTMLParser):
    """All tags, and all text outside of <style>."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_startendtag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and data.strip():
            self.texts.append(data.strip())

    @property
    def is_closed(self) -> bool:
        return not self._open

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory,
) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path_factory.mktemp("page"))
    made.add(f"d1/1657072552295_{'FR-View-CMR-Wide'}")
    made.add("d1/1657072552296_RR-View-CMR-Wide")
    made.add(f"{KOREAN}/{HOSTILE.replace('/', '')}")
    made.add("evil\u202egnp")
    made.add(
        "boxes",
        [
            *made_dataset.ALL_CLASSES,
            made_dataset.box("car", 0, 0, 0, 0, id="<script>x</script>"),
            made_dataset.box("<u>odd</u>", 1, 1, 9, 9),
        ],
    )
    made.add("size", size="5*5")
    cut = made.add("cut").with_suffix(".jpg")
    cut.write_bytes(cut.read_bytes()[:300])
    made.annotate("lonely<b>", [])
    assert made.convert("--max_rejects=0.9", "--num_shards=2") == 0
    return made


@pytest.fixture(scope="module")
def page(dataset: made_dataset.Dataset) -> _Page:
    return _Page((dataset.output / "report.html").read_text())


def _write(
    dataset: made_dataset.Dataset,
    manifest: schema.Manifest,
    max_pixels: int,
    given: Sequence[str] = (),
) -> None:
    names = [p.name for p in dataset.output.iterdir()]
    report_page.write(
        str(dataset.output),
        manifest,
        dict(zip(names, names, strict=True)),
        str(dataset.input),
        max_pixels,
        given,
    )


def _rows(dataset: made_dataset.Dataset) -> list[list[str]]:
    content = (dataset.output / "report.html").read_text()
    return [
        [
            html.unescape(re.sub("<.*?>", "", cell))
            for cell in re.findall("<td.*?>(.*?)</td>", row)
        ]
        for row in re.findall("<tr>(.*?)</tr>", content, re.DOTALL)
    ]


def test_page_is_one_file_that_runs_and_loads_nothing(page: _Page) -> None:
    assert page.is_closed
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "a", "b", "u", "object"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
    addresses = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(addresses) >= 20
    assert all(str(a).startswith("data:image/jpeg;base64,") for a in addresses)
    policies = [a.get("content") for t, a in page.tags if t == "meta"]
    assert any("default-src 'none'" in str(policy) for policy in policies)


def test_names_are_shown_as_they_are(page: _Page) -> None:
    assert f"{KOREAN}/{HOSTILE}.jpg" in page.text
    assert "evil\\u202egnp.jpg" in page.text
    assert "\u202e" not in page.text
    assert "<script>x</script>" in page.text
    assert "left out: class:<u>odd</u>" in page.text
    assert "lonely<b>.json" in page.text


def test_counts_are_those_of_the_data_set(
    dataset: made_dataset.Dataset,
) -> None:
    rows = _rows(dataset)
    assert ["1", "car", "car", "5", ""] in rows
    sources = "truck_s, truck_l, truck"
    assert ["2", "truck", sources, "5", ""] in rows
    assert ["", "images", "", "5", ""] in rows
    assert ["FR-View-CMR-Wide", "1", ""] in rows
    assert ["d1", "2", ""] in rows
    assert ["rejected: size_mismatch", "1"] in rows
    assert ["rejected: zero_area", "1"] in rows


def test_histograms_by_hand(page: _Page) -> None:
    # Roots of the areas: car 20, truck sqrt(500) = 22.4, bus 40,
    # pedestrian sqrt(120) = 11; five images with 4 objects each.
    labels = ["< 8", "8-16", "16-32", "32-64", "64-96", "96-192", "192-384"]
    labels.append("384+")
    charts: dict[str, dict[str, str]] = {}
    texts = page.texts
    for name, column in (
        ("car", "16-32"),
        ("truck", "16-32"),
        ("bus", "32-64"),
        ("pedestrian", "8-16"),
    ):
        start = next(
            n
            for n, text in enumerate(texts)
            if text == name and texts[n + 2] == "< 8"
        )
        numbers = texts[start + 1 : start + 17]
        charts[name] = dict(zip(numbers[1::2], numbers[::2], strict=True))
        assert list(charts[name]) == labels
        assert {k for k, v in charts[name].items() if v != "0"} == {column}
        assert charts[name][column] == "5"
    start = texts.index(
        "train", texts.index("Number of images by their objects.")
    )
    numbers = texts[start + 1 : start + 17]
    images = dict(zip(numbers[1::2], numbers[::2], strict=True))
    assert images == {
        "0": "0", "1": "0", "2": "0", "3-4": "5", "5-8": "0",
        "9-16": "0", "17-32": "0", "33+": "0",
    }  # fmt: skip


def test_rejects_have_pictures_where_they_decode(
    dataset: made_dataset.Dataset, page: _Page
) -> None:
    text = page.text
    assert "Rejected images: size_mismatch (1)" in text
    assert "Rejected objects: zero_area (1)" in text
    assert text.count("the image does not decode") == 1
    assert text.count("no image found") == 1
    assert "its boxes cannot be trusted" in text


def _command(dataset: made_dataset.Dataset) -> list[str]:
    content = (dataset.output / "report.html").read_text()
    shown = re.findall("<pre>(.*?)</pre>", content, re.DOTALL)[0]
    text = html.unescape(re.sub("<.*?>", "", shown))
    return shlex.split(text.replace("\\\n", " "))


def test_command_is_the_one_that_was_given(
    dataset: made_dataset.Dataset,
) -> None:
    assert _command(dataset) == [
        *("python", "-m", "tfrecord_tools.convert"),
        f"--input_dir={dataset.input}",
        "--max_rejects=0.9",
        "--num_shards=2",
        "--output_dir=OUT",
    ]


def test_bytes_are_the_same_each_time(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dataset.output / "report.html"
    before = path.read_bytes()
    given = _command(dataset)[3:]
    _write(dataset, dataset.manifest(), 10_000, given)
    assert path.read_bytes() == before
    _write(dataset, dataset.manifest(), 100)
    assert b"data:image" not in path.read_bytes()  # all are larger
    path.write_bytes(before)


def test_fields_that_other_conversions_add(
    dataset: made_dataset.Dataset, tmp_path: pathlib.Path
) -> None:
    manifest = dataset.manifest()
    pair = {"distance": 3, "first": "evil\u202egnp.jpg", "second": "no<b>.jpg"}
    rule = {
        **manifest.split_rule,
        "near_duplicates": {"distance": 9, "pairs": 7, "examples": [pair]},
    }
    selection = {
        "found": {"images": 12, "objects": {"car": 4}, "cameras": {"<i>": 2}},
        "selected": {"images": 6, "objects": {}},
        "images_without_field": {"weather": 1},
    }
    changed = dataclasses.replace(manifest, split_rule=rule)
    object.__setattr__(changed, "selection", selection)
    _write(dataset, changed, 10_000)
    path = dataset.output / "report.html"
    found = _Page(path.read_text())
    assert "7 pairs at a distance of at most" in found.text
    assert "no<b>.jpg" in found.text
    assert ["images", "12", "6"] in _rows(dataset)
    assert ["objects: car", "4", "0"] in _rows(dataset)
    assert ["cameras: <i>", "2", "0"] in _rows(dataset)
    assert found.is_closed


def test_control_characters_are_written_out() -> None:
    assert page_html.text("a\x00b\n<") == "<bdi>a\\x00b\\n&lt;</bdi>"
    assert page_html.text("\udcff") == "<bdi>\\udcff</bdi>"
    assert page_html.text("é 한") == "<bdi>é 한</bdi>"
