"""The classes of the published detectors' heads, and what they mean.

COCO numbers its 80 classes from 1 to 90 with gaps (cocodataset.org,
instances_val2017.json, "categories"); the published heads have a row for every
number, so ten rows mean nothing.
"""

from __future__ import annotations

_LINES = """
person bicycle car motorcycle airplane bus train truck boat traffic_light
fire_hydrant - stop_sign parking_meter bench bird cat dog horse sheep
cow elephant bear zebra giraffe - backpack umbrella - -
handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat
baseball_glove
skateboard surfboard tennis_racket bottle - wine_glass cup fork knife spoon
bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut
cake chair couch potted_plant bed - dining_table - - toilet
- tv laptop mouse remote keyboard cell_phone microwave oven toaster
sink refrigerator - book clock vase scissors teddy_bear hair_drier toothbrush
"""

# A row without a class is named after its number.
NAMES: tuple[str, ...] = tuple(
    f"unused {number}" if word == "-" else word.replace("_", " ")
    for number, word in enumerate(_LINES.split(), start=1)
)

# Other names for what COCO calls so; nothing is guessed beyond this list.
MEANS = {"pedestrian": "person"}


def meaning(name: str) -> str:
    """Returns the name under which a class is compared."""
    plain = name.strip().lower().replace("_", " ")
    return MEANS.get(plain, plain)
