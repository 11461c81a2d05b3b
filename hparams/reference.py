"""docs/hyper-parameters.md, written from the declarations themselves.

python -m hparams.reference > docs/hyper-parameters.md
"""

from __future__ import annotations

from hparams import config, leaf, official_keys, presets, serialize

_TOP = """\
# Hyper-parameters

Written by `python -m hparams.reference > docs/hyper-parameters.md`; a test
holds it against the code.

A run's values are, one over the other: the preset of `--model_name`, the
recipe, `--hparams`, and the flags that name a value themselves. The result is
printed at the start and saved in the model folder. A name that is unknown, a
value of the wrong type or out of range, and a name given twice are errors.

## How values are written

`--hparams` takes `name=value,name=value` or a YAML file. Both give the same:

    --hparams=learning_rate=0.04,image_size=960x512,aspect_ratios=[1.0,2.0,0.5]

    learning_rate: 0.04              # by its name
    image_size: 960x512
    optimizer: {momentum: 0.9}       # or in its section
    nms.method: hard                 # or dotted
    nms_configs: {iou_thresh: 0.6}   # or by its official name

A file may be followed by what it leaves out: `--hparams=FILE.yaml,seed=1`. A
project file of the PyTorch port is read as well, see
[from-the-pytorch-port.md](from-the-pytorch-port.md).

- Text is read by the type of the hyper-parameter: `1e-3` is a number also where
  YAML takes it for text. `true`, `false`, `yes`, `no`, `on`, `off` in any case
  are booleans where the hyper-parameter is one, and an error where it is not.
- A number without a fraction may stand for any number; `4.0` is no integer.
- Lists are `[1, 2]` or `1*2`. One value fills a list of fixed length:
  `mean_rgb=127`. Pairs are `[[1.0, 1.0], [1.4, 0.7]]`; as text also
  `[(1.0, 1.0), (1.4, 0.7)]`, which a YAML file must put in quotes.
- `image_size` is `WIDTHxHEIGHT`, one number for a square, or a list
  `[height, width]`.
- `label_map` in the YAML file lists the class names in the order of their ids:
  `[car, truck]` or `{1: car, 2: truck}`. Ids start at 1 and background is not
  listed. The names are checked against the data set and not stored.

## All hyper-parameters

The default is that of the base; the table of networks below says what each
preset replaces.
"""

_OFFICIAL_TOP = """\
## Official names

What becomes of every hyper-parameter of the official EfficientDet. "Same" means
the same name and meaning here. "Only" means that the key is accepted at this
value, which says what is done anyway, and that any other value is an error with
the sentence shown.
"""

_RECIPES_TOP = """\
## Recipes

A recipe sets how a network is trained, over the network's preset.

`overfit` learns few images by heart, on purpose. It proves that the machinery
works from records to detections; its accuracy says nothing about images the
network has not seen.
"""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(*heads: str) -> list[str]:
    return [_row(*heads), _row(*["---"] * len(heads))]


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _leaf_lines() -> list[str]:
    lines: list[str] = []
    for section, kind in config.Config.SECTIONS.items():
        lines += ["", f"### {section}", "", str(kind.__doc__), ""]
        lines += _table("name", "type", "default", "range", "what it is")
        lines += [
            _row(
                _code(found.name),
                leaf.type_name(found.hint),
                _code(serialize.to_text(found.name, found.default)),
                str(found.limits),
                found.limits.help,
            )
            for found in config.LEAVES.values()
            if found.section == section
        ]
    return lines


def _network_lines() -> list[str]:
    lines = ["", "## Networks", ""]
    lines += _table("`--model_name`", "replaces in the base")
    base = config.Config()
    for name in presets.MODEL_NAMES:
        texts = [
            f"{d.name.rpartition('.')[2]}="
            + serialize.to_text(d.name.rpartition(".")[2], d.b)
            for d in serialize.diff(base, presets.get_config(name))
        ]
        lines.append(_row(_code(name), _code(",".join(texts)) or "nothing"))
    return lines


def _recipe_lines() -> list[str]:
    lines = ["", _RECIPES_TOP]
    lines += _table("recipe", "replaces")
    for name, values in presets.RECIPES.items():
        texts = [f"{k}={serialize.to_text(k, v)}" for k, v in values.items()]
        lines.append(_row(_code(name), _code(",".join(texts))))
    return lines


def _official_lines() -> list[str]:
    lines = ["", _OFFICIAL_TOP]
    lines += _table("official name", "here", "what to know, or to use instead")
    for key, note in official_keys.SAME.items():
        dotted = config.LEAVES[key.rpartition(".")[2]].dotted
        lines.append(_row(_code(key), f"same: {_code(dotted)}", note))
    for key, fixed in official_keys.FIXED.items():
        only = f"only {_code(fixed.shown())}"
        lines.append(_row(_code(key), only, fixed.instead))
    for key, instead in official_keys.REFUSED.items():
        lines.append(_row(_code(key), "not a hyper-parameter", instead))
    return lines


def document() -> str:
    """Returns docs/hyper-parameters.md."""
    lines = [_TOP.rstrip()]
    lines += _leaf_lines()
    lines += _network_lines()
    lines += _recipe_lines()
    lines += _official_lines()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
