"""The --hparams flag: a YAML file, or name=value,name=value.

The file is read with YAML's safe loader, and a key given twice is an error
where the safe loader would silently keep the last one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from hparams import leaf, override
from tfrecord_tools import command

_SUFFIXES = (".yaml", ".yml")


class _Loader(yaml.SafeLoader):
    """The safe loader, with a key given twice as an error."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        lines: dict[object, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # '<<' takes over another mapping's keys
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is no name",
                    problem_mark=key_node.start_mark,
                )
            if key in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} of line {lines[key]} is given"
                    " again",
                    problem_mark=key_node.start_mark,
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def _where(error: yaml.YAMLError) -> str:
    """Returns ', line N: what' as far as the error knows it."""
    mark = getattr(error, "problem_mark", None)
    # A fault in the encoding has no mark, and its text has several lines.
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f", line {mark.line + 1}: {problem}" if mark else f": {problem}"


def load_yaml_mapping(path: str) -> dict[str, object]:
    """Returns the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
      UserError: USAGE: no such file, not YAML, a key given twice, or the top
        level is no mapping.
    """
    try:
        with open(path, "rb") as file:
            found = yaml.load(file, Loader=_Loader)
    except OSError as error:
        raise _usage(
            f"Cannot read the hyper-parameter file {path!r}: {error.strerror}."
        ) from None
    except yaml.YAMLError as error:
        raise _usage(f"Hyper-parameter file {path!r}{_where(error)}.") from None
    except (ValueError, RecursionError) as error:
        # YAML accepts the look of a date before it knows that it is none.
        raise _usage(f"Hyper-parameter file {path!r}: {error}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _usage(
            f"Hyper-parameter file {path!r} holds a {type(found).__name__},"
            " expected lines of 'name: value'."
        )
    return found


def parse_hparams(text: str) -> Mapping[str, object]:
    """Returns the names and values that the --hparams flag gives.

    Args:
      text: the path of a .yaml file, or 'name=value,name=value', or ''.

    Raises:
      UserError: USAGE: it is neither, or the file cannot be used.
    """
    if "=" not in text and text.endswith(_SUFFIXES):
        return load_yaml_mapping(text)
    try:
        return override.parse_text(text)
    except leaf.HParamError as error:
        raise _usage(
            f"--hparams: {error} A file's name ends in .yaml."
        ) from None
