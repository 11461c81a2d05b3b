from __future__ import annotations

import pathlib

import pytest

from tfrecord_tools import command, split

# 20 drives of 5 images.
DRIVES = {f"d{d}/i{i}.png": f"drive{d}" for d in range(20) for i in range(5)}


def _choice(
    train_list: str | None = None,
    val_list: str | None = None,
    val_fraction: float | None = None,
    eval_on_train: bool = False,
    seed: int = 0,
) -> split.Choice:
    return split.Choice(
        train_list=train_list,
        val_list=val_list,
        val_fraction=val_fraction,
        eval_on_train=eval_on_train,
        seed=seed,
    )


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.99])
def test_fraction_keeps_drives_whole(fraction: float) -> None:
    choice = _choice(val_fraction=fraction)
    assigned = split.assign(choice, DRIVES)
    train, val = assigned.splits["train"], assigned.splits["val"]
    assert set(train) | set(val) == set(DRIVES)
    assert len(train) + len(val) == len(DRIVES)
    assert not {DRIVES[i] for i in train} & {DRIVES[i] for i in val}
    assert len(val) == pytest.approx(100 * min(fraction, 0.95), abs=2.5)
    assert train


def test_fraction_follows_from_the_seed() -> None:
    def val(seed: int) -> tuple[str, ...]:
        choice = _choice(val_fraction=0.2, seed=seed)
        return split.assign(choice, DRIVES).splits["val"]

    assert val(1) == val(1)
    assert val(1) != val(2)


def test_fraction_of_one_drive_is_refused() -> None:
    with pytest.raises(command.UserError, match="are of 1 drive") as caught:
        split.assign(_choice(val_fraction=0.2), {"a": "d", "b": "d"})
    assert caught.value.exit_code == 65


def test_image_in_two_lists_is_refused(tmp_path: pathlib.Path) -> None:
    train, val = tmp_path / "t.txt", tmp_path / "v.txt"
    train.write_text("d0/i0.png\nd1/i0.png\n")
    val.write_text("d1/i0\nd1/i0.png\n")
    choice = _choice(str(train), str(val))
    with pytest.raises(
        command.UserError, match=r"1 images are in both .* such as d1/i0\.png"
    ) as caught:
        split.assign(choice, DRIVES)
    assert caught.value.exit_code == 64


def test_name_of_several_images_is_refused(tmp_path: pathlib.Path) -> None:
    train = tmp_path / "t.txt"
    train.write_text("i0.png")
    with pytest.raises(
        command.UserError, match=r"'i0.png', which is the name of 20 images"
    ) as caught:
        split.assign(_choice(str(train)), DRIVES)
    assert caught.value.exit_code == 64


def test_list_without_usable_image_is_refused(tmp_path: pathlib.Path) -> None:
    train = tmp_path / "t.txt"
    train.write_text("none\n")
    assigned = split.assign(_choice(str(train)), DRIVES)
    with pytest.raises(
        command.UserError, match="Split 'train' would have no image"
    ) as caught:
        split.check_filled(assigned, len(DRIVES))
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (_choice("t", "v", eval_on_train=True), "--val_list and --eval_on_"),
        (_choice(val_fraction=0.1, eval_on_train=True), "Give one"),
        (_choice("t", val_fraction=0.1), "exclude each other"),
        (_choice(val_list="v"), "needs --train_list"),
        (_choice(val_fraction=0.0), "not between 0 and 1"),
    ],
)
def test_contradictions(choice: split.Choice, message: str) -> None:
    with pytest.raises(command.UserError, match=message) as caught:
        split.check_choice(choice)
    assert caught.value.exit_code == 64


def test_shuffle_keeps_all_and_follows_from_the_seed() -> None:
    paths = sorted(DRIVES)
    order = split.shuffled(paths, 3)
    assert sorted(order) == paths
    assert order == split.shuffled(paths[::-1], 3)
    assert order != split.shuffled(paths, 4)
    # Half of the shuffled images is a sample of nearly all drives.
    assert len({DRIVES[p] for p in order[:50]}) >= 18
