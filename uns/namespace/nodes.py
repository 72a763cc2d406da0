"""A parsed file as a tree of nodes: text and places, no types yet."""

from __future__ import annotations

import re

import msgspec

from uns.namespace.findings import Position, shown

__all__ = ["Entry", "MappingNode", "Node", "ScalarNode", "SequenceNode", "kind_of"]

# YAML 1.2 core schema: these words, without quotes, are null.
_NUMBER_LIKE = re.compile(r"[-+.0-9][-+.0-9a-zA-Z]{0,40}")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class ScalarNode(msgspec.Struct, frozen=True, eq=False):
    """A single value as written. ``plain`` says that it stands without quotes."""

    position: Position
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        """Nothing written, or YAML 1.2's null, without quotes."""
        return self.plain and self.text in _NULLS


class SequenceNode(msgspec.Struct, frozen=True, eq=False):
    """A list."""

    position: Position
    items: list[Node]


class Entry(msgspec.Struct, frozen=True, eq=False):
    """A key of a mapping, where it stands, and what follows it."""

    key: str
    position: Position
    node: Node


class MappingNode(msgspec.Struct, frozen=True, eq=False):
    """A mapping. Of a key written twice the first stands here; the second is a finding."""

    position: Position
    entries: dict[str, Entry]


Node = ScalarNode | SequenceNode | MappingNode


def kind_of(node: Node) -> str:
    """What a node is, in words for a finding."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.items)}"
    if node.is_null:
        return "empty"
    return node.text if node.plain and _NUMBER_LIKE.fullmatch(node.text) else shown(node.text)
