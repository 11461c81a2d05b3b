"""Reads YAML from files that cannot be trusted."""

from __future__ import annotations

from typing import Any

import yaml

from tfrecord_tools import annotation


class _Loader(yaml.SafeLoader):
    """The safe loader; aliases and keys given twice are errors.

    An alias can make a small file's value large without bounds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Returns the next node, which may not be an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                problem="aliases (*name) are not read",
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Returns a mapping, whose keys are single values, each once."""
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key is no name",
                    problem_mark=key_node.start_mark,
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key_node.value!r} is given again",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load(content: bytes) -> Any:
    """Returns the value that a file's content is.

    Raises:
      annotation.AnnotationFault: it is no YAML, or of a kind that is not read.
    """
    try:
        return yaml.load(content, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split()).encode("ascii", "backslashreplace")
        raise annotation.AnnotationFault("not_yaml", text.decode()) from error
