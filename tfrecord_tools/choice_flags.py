"""The flags that say which images are used, and which split they go into."""

from __future__ import annotations

from absl import flags

from tfrecord_tools import balancing, choosing, duplicates, selection, split

_TEXTS = {
    "train_list": (
        "text file with the images to train on, one per line: path, file name,"
        " or that without the extension; without it all images"
    ),
    "val_list": "text file with the images to validate on",
    "test_list": "text file with the images of a third split, test",
    "group_regex": (
        "regular expression with one group, searched in an image's path: what"
        " it finds is the same for images that stay together; without it"
        " the drive"
    ),
}
_LISTS = {
    selection.IMAGE_FLAG: (
        "FIELD:CONDITION, images to use, as in weather:sunny,cloudy; repeated,"
        " all must be met"
    ),
    selection.OBJECT_FLAG: (
        "FIELD:CONDITION, objects to use, as in occlusion:<=2 or height:>=8;"
        " repeated, all must be met"
    ),
    "camera_share": (
        "CAMERA:SHARE, a camera's share of --max_images; repeated"
    ),
}
_BOOLS = {
    "keep_fake": (False, "use pictures of objects (isfake) as objects"),
    "eval_on_train": (
        False,
        "validate on the training images: shows that training works, says"
        " nothing about new images",
    ),
    "check_duplicates": (
        True,
        "look for images that look the same in two splits; reads every image"
        " once more",
    ),
    "move_duplicates": (
        False,
        "put groups with images that look the same into one split",
    ),
}
_DISTANCE = 10


def define(values: flags.FlagValues) -> None:
    """Adds the flags to a command's."""
    for name, text in _TEXTS.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in _LISTS.items():
        flags.DEFINE_multi_string(name, [], text, flag_values=values)
    for name, (default, text) in _BOOLS.items():
        flags.DEFINE_bool(name, default, text, flag_values=values)
    for name, what in (("val", "validate on"), ("test", "keep for a test")):
        flags.DEFINE_float(
            f"{name}_fraction",
            None,
            f"share of the images to {what}; whole groups are moved",
            flag_values=values,
        )
    flags.DEFINE_integer(
        "num_folds",
        None,
        "divide the groups into this many folds; see --fold",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "fold",
        None,
        "the fold to validate on, from 0; the others are trained on",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "sets the order and the choice of images and drives",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_images",
        None,
        "use this many images, chosen so that rare classes are kept",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "duplicate_distance",
        _DISTANCE,
        f"of {duplicates.NUM_BITS} bits, in how many two images that look the"
        " same may differ",
        lower_bound=0,
        upper_bound=duplicates.NUM_BITS // 2,
        flag_values=values,
    )


def parse_split(values: flags.FlagValues) -> split.Choice:
    """Returns what the flags say about the split.

    Raises:
      command.UserError: they contradict each other.
    """
    choice = split.Choice(
        train_list=values.train_list,
        val_list=values.val_list,
        test_list=values.test_list,
        val_fraction=values.val_fraction,
        test_fraction=values.test_fraction,
        num_folds=values.num_folds,
        fold=values.fold,
        group_regex=values.group_regex,
        eval_on_train=values.eval_on_train,
        seed=values.seed,
    )
    split.check_choice(choice)
    return choice


def parse_selection(values: flags.FlagValues) -> choosing.Selection:
    """Returns what the flags say about which images and objects are used.

    Raises:
      command.UserError: they contradict each other or make no sense.
    """
    wanted = choosing.Selection(
        filters=selection.make_filters(
            values[selection.IMAGE_FLAG].value,
            values[selection.OBJECT_FLAG].value,
            values.keep_fake,
        ),
        max_images=values.max_images,
        camera_shares=balancing.parse_shares(values.camera_share),
        check=duplicates.Check(
            is_on=values.check_duplicates,
            max_distance=values.duplicate_distance,
            move=values.move_duplicates,
        ),
    )
    choosing.check_selection(wanted)
    return wanted
