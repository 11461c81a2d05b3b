"""The choice of --max_images."""

from __future__ import annotations

import collections
import hashlib
import pathlib
import re

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import balancing, command

# 2,000 images as a drive sees them: cars in most, few trucks, very few buses.
_RNG = np.random.default_rng(0)
_COUNTS = np.stack(
    [
        _RNG.poisson(3.0, 2000),
        _RNG.poisson(0.15, 2000),
        _RNG.poisson(0.03, 2000),
        _RNG.poisson(0.4, 2000),
    ],
    1,
)
_CAMERAS = _RNG.choice(["wide", "narrow", "rear"], 2000, p=[0.6, 0.3, 0.1])
STREET = {
    f"i{n}": balancing.Candidate(camera=str(c), counts=tuple(map(int, row)))
    for n, (c, row) in enumerate(zip(_CAMERAS, _COUNTS, strict=True))
}


def _totals(chosen: set[str]) -> np.ndarray:
    return np.sum([STREET[image].counts for image in chosen], 0)


def test_classes_are_more_even_than_in_a_uniform_draw() -> None:
    chosen = balancing.choose(STREET, 300, {}, 0)
    assert len(chosen) == 300
    uniform = _COUNTS.sum(0) * 300 / 2000
    balanced = _totals(chosen)
    # All buses there are.
    assert balanced[2] == _COUNTS[:, 2].sum()
    assert balanced[1] > 3 * uniform[1]
    assert balanced.min() / balanced.max() > 3 * uniform.min() / uniform.max()


def test_images_without_objects_keep_their_share() -> None:
    empty = {image for image, c in STREET.items() if not any(c.counts)}
    chosen = balancing.choose(STREET, 300, {}, 0)
    assert len(chosen & empty) == len(empty) * 300 // 2000
    assert len(empty) > 50


def test_choice_follows_from_the_seed_and_not_from_the_order() -> None:
    chosen = balancing.choose(STREET, 300, {}, 0)
    turned = dict(reversed(STREET.items()))
    assert balancing.choose(turned, 300, {}, 0) == chosen
    assert balancing.choose(STREET, 300, {}, 1) != chosen


def _by_the_rule(
    candidates: dict[str, balancing.Candidate],
    num_images: int,
    quotas: dict[str, int],
    seed: int,
) -> set[str]:
    """Returns the choice as the module's text words it, looked up anew."""
    names = [f"{seed}:select:{name}" for name in candidates]
    order = sorted(names, key=lambda n: hashlib.sha256(n.encode()).digest())
    paths = [name.split(":")[2] for name in order]
    num_empty = sum(not any(c.counts) for c in candidates.values())
    chosen: list[str] = []
    while len(chosen) < num_images:
        free = []
        for path in paths:
            camera = candidates[path].camera
            same = [c for c in chosen if candidates[c].camera == camera]
            if path not in chosen and len(same) < quotas.get(camera, 0):
                free.append(path)
        empty = [path for path in free if not any(candidates[path].counts)]
        totals = [
            (sum(candidates[c].counts[k] for c in chosen), k) for k in range(2)
        ]
        queues = [
            [path for path in free if candidates[path].counts[k]]
            for _, k in sorted(totals)
        ]
        if len(chosen) < num_empty * num_images // len(candidates):
            queues.insert(0, empty)
        queues.append(empty)
        chosen.append(next(queue[0] for queue in queues if queue))
    return set(chosen)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 2)),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 30),
    st.sampled_from([{}, {"a": 0.5}, {"a": 0.25, "b": 0.75}]),
    st.integers(0, 3),
)
def test_choice_is_exact_and_by_the_rule_or_refused(
    rows: list[tuple[str, int, int]],
    num_images: int,
    shares: dict[str, float],
    seed: int,
) -> None:
    candidates = {
        f"i{n}": balancing.Candidate(camera=camera, counts=(one, two))
        for n, (camera, one, two) in enumerate(rows)
    }
    try:
        chosen = balancing.choose(candidates, num_images, shares, seed)
    except command.UserError:
        assert shares
        return
    wanted = num_images if shares else min(num_images, len(rows))
    assert len(chosen) == wanted
    sizes = collections.Counter(candidates[image].camera for image in chosen)
    for camera, share in shares.items():
        assert abs(sizes[camera] - share * num_images) < 1
    quotas = dict(sizes) if shares else dict.fromkeys("abc", len(rows))
    rest = wanted - sum(sizes[camera] for camera in shares)
    if len(shares) == 1:  # b and c share what is left: no quota of their own
        assert sizes["b"] + sizes["c"] == rest
        return
    assert chosen == _by_the_rule(candidates, wanted, quotas, seed)


def test_as_many_as_there_are() -> None:
    few = {name: STREET[name] for name in list(STREET)[:5]}
    assert balancing.choose(few, 5, {}, 0) == set(few)
    assert balancing.choose(few, 9, {}, 0) == set(few)
    assert balancing.choose({}, 9, {}, 0) == set()


def test_fractions_go_to_the_largest_remainders() -> None:
    sizes = {"a": 50, "b": 50, "c": 50, "d": 50}
    # 3.33, 3.33 and 3.34 of 10; the others 0.
    shares = {"a": 0.333, "b": 0.333, "c": 0.334}
    found = balancing.quotas(sizes, shares, 10)
    assert found == {"a": 3, "b": 3, "c": 4, "": 0}
    assert balancing.quotas(sizes, {"a": 0.5}, 7) == {"": 4, "a": 3}
    # 0.7 * 10 is a little less than 7 in floating point.
    assert balancing.quotas(sizes, {"a": 0.7}, 10) == {"a": 7, "": 3}


def test_shares_that_cannot_be_reached_are_refused_with_numbers() -> None:
    with pytest.raises(command.UserError) as caught:
        balancing.choose(STREET, 1000, {"rear": 0.5, "wide": 0.2}, 0)
    num_rear = sum(c.camera == "rear" for c in STREET.values())
    message = str(caught.value)
    assert caught.value.exit_code == 65
    assert (
        f"  rear: 500 images are asked for (share 0.5), {num_rear} can be"
        " chosen" in message
    )
    assert "  all other cameras: 300 images" in message
    assert f"about {num_rear * 2} images can be chosen" in message
    found = re.search(r"about (\d+) images", message)
    assert found is not None
    most = int(found[1])
    chosen = balancing.choose(STREET, most, {"rear": 0.5, "wide": 0.2}, 0)
    assert len(chosen) == most


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["wide"], "--camera_share=wide is not CAMERA:SHARE"),
        (["wide:half"], "is not CAMERA:SHARE"),
        (["wide:1.5"], "is not CAMERA:SHARE"),
        (["wide:nan"], "is not CAMERA:SHARE"),
        ([":0.5"], "is not CAMERA:SHARE"),
        (["wide:0.1", "wide:0.2"], "gives 'wide' two shares"),
        (["wide:0.6", "rear:0.5"], "add up to 1.1, at most 1"),
    ],
)
def test_shares_that_make_no_sense(texts: list[str], message: str) -> None:
    with pytest.raises(command.UserError, match=message) as caught:
        balancing.parse_shares(texts)
    assert caught.value.exit_code == 64


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    for index in range(12):
        objects = [made_dataset.box("car", 1, 1, 9, 9)]
        if index % 4 == 0:
            objects = made_dataset.ALL_CLASSES
        camera = "wide" if index % 3 else "rear"
        made.add(f"i{index}", objects, parent_path=f"/d{index // 2}/{camera}")
    return made


def test_command_writes_exactly_that_many(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--max_images=6", "--camera_share=rear:0.5", "--val_fraction=0.3"]
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    assert manifest.accounts["images"]["written"] == 6
    assert manifest.accounts["images"]["filtered"] == {"max_images": 6}
    report = manifest.selection
    assert report["selected"] == {
        "images": 6,
        # All three images with all classes: car is ahead from the first on.
        "objects": {"car": 6, "truck": 3, "bus": 3, "pedestrian": 3},
        "cameras": {"rear": 3, "wide": 3},
    }
    assert report["found"]["objects"]["car"] == 12
    out = capsys.readouterr().out
    assert "selection      found  filtered  selected" in out
    assert "images            12        12         6" in out


def test_a_maximum_that_is_not_reached_keeps_all(
    dataset: made_dataset.Dataset,
) -> None:
    assert dataset.convert("--max_images=100") == 0
    assert dataset.manifest().accounts["images"]["written"] == 12


def test_command_refuses_unknown_cameras_and_shares_of_nothing(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = "--camera_share=waide:0.5"
    assert dataset.convert("--max_images=6", flag) == 64
    err = capsys.readouterr().err
    assert "no image is of camera 'waide'; did you mean 'wide' (8" in err
    assert dataset.convert(flag) == 64
    assert "--camera_share needs --max_images" in capsys.readouterr().err
    assert dataset.convert("--max_images=0") == 64


def test_what_is_selected_is_divided(tmp_path: pathlib.Path) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for index in range(20):
        dataset.add(f"i{index}")  # each is its own drive
    for seed in range(3):
        flags = ["--max_images=10", "--val_fraction=0.2", f"--seed={seed}"]
        assert dataset.convert(*flags, "--overwrite") == 0
        splits = dataset.manifest().splits
        assert [part.images for part in splits.values()] == [8, 2]


def test_lists_decide_before_the_number(
    dataset: made_dataset.Dataset, tmp_path: pathlib.Path
) -> None:
    names = {"train": range(6), "val": range(6, 9)}
    flags = []
    for name, numbers in names.items():
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"i{n}\n" for n in numbers))
        flags.append(f"--{name}_list={path}")
    assert dataset.convert("--max_images=5", *flags) == 0
    manifest = dataset.manifest()
    assert manifest.accounts["images"]["written"] == 5
    assert manifest.accounts["images"]["filtered"] == {
        "max_images": 4,
        "not_in_split": 3,
    }
