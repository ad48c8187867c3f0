"""Reading YAML (and so JSON) that people write: strictly, with an error that names the place."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigurationError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML lets the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"{key!r} stands twice"
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, where: str) -> Any:
    """The content of YAML ``text``; ``where`` names its origin in errors.

    Raises:
        ConfigurationError: not YAML, or a key twice in one mapping.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(
            f"not valid YAML ({' '.join(str(error).split())})",
            where=where,
            fix="Mend the file at the place named",
        ) from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigurationError: unreadable, not YAML, or a key twice in one mapping.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the file cannot be read ({error})", where=str(path), fix="Check the path"
        ) from error
    return parse_yaml(text, str(path))
