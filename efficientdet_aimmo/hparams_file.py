"""The --hparams flag: a YAML file, name=value,name=value, or both.

The file is one of hyper-parameters, or a project of the PyTorch port, which its
keys tell. It is read with YAML's safe loader, and a key given twice is an error
where the safe loader would silently keep the last one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from hparams import leaf, override, port
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


def _load(path: str) -> dict[str, object]:
    """Returns a file's hyper-parameters; prints what a project says here."""
    given = load_yaml_mapping(path)
    if not port.is_project(given):
        return given
    try:
        project = port.translate(given)
    except leaf.HParamError as error:
        raise _usage(f"Hyper-parameter file {path!r}: {error}") from None
    for notice in project.notices:
        print(f"{path}: {notice}", flush=True)
    if project.names is None:
        return project.values
    return {**project.values, "label_map": project.names}


def _split_path(text: str) -> tuple[str, str]:
    """Returns the file's path, '' if there is none, and the text behind it."""
    if "=" not in text and text.endswith(_SUFFIXES):
        return text, ""
    first, _, rest = text.partition(",")
    if "=" not in first and first.endswith(_SUFFIXES):
        return first, rest
    return "", text


def parse_hparams(text: str) -> Mapping[str, object]:
    """Returns the names and values that the --hparams flag gives.

    Args:
      text: the path of a .yaml file, 'name=value,name=value', a path and a
        comma before these, or ''.

    Raises:
      UserError: USAGE: it is none of these, the file cannot be used, or a name
        is given in the file and behind it.
    """
    path, rest = _split_path(text)
    from_file = _load(path) if path else {}
    try:
        given = override.parse_text(rest)
    except leaf.HParamError as error:
        raise _usage(
            f"--hparams: {error} A file's name ends in .yaml and comes first."
        ) from None
    for name in given:
        if name in from_file:
            raise _usage(
                f"--hparams gives {name!r} in {path!r} and again behind it, as"
                f" {given[name]!r}. Give it once."
            )
    return {**from_file, **given}
