"""Reading the keys of a mapping in the types their schema wants, with every mistake collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from uns.namespace.findings import Findings, Position, closest, nearest, shown
from uns.namespace.nodes import Entry, MappingNode, Node, ScalarNode, SequenceNode, kind_of
from uns.namespace.scalars import (
    BOOLEANS,
    YAML_1_1_BOOLEANS,
    duration_text,
    integer_of,
    number_of,
    parse_duration_ns,
    parse_size_bytes,
)

__all__ = ["Fields"]

_Default = TypeVar("_Default")
_Choice = TypeVar("_Choice")


class Fields:
    """The keys of one mapping, each read in the type its schema wants.

    A getter that meets something else adds a finding and returns the default, so that reading goes on and every
    finding of a file is told in one run. Unknown and missing keys are found when the object is made.
    """

    def __init__(
        self,
        node: MappingNode,
        findings: Findings,
        *,
        what: str,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> None:
        self.node = node
        self.findings = findings
        self.what = what
        allowed = (*required, *optional)
        meant: set[str] = set()
        for entry in node.entries.values():
            if entry.key not in allowed:
                near = closest(entry.key, [key for key in allowed if key not in node.entries])
                meant.add(near)
                near = near or closest(entry.key, allowed)
                findings.error(
                    "unknown-key",
                    f"{what} has no key {shown(entry.key)}",
                    entry.position,
                    f"did you mean {near!r}?" if near else f"known are: {', '.join(allowed)}",
                )
        for key in required:
            if key not in node.entries and key not in meant:  # a misspelt key is one mistake, not two
                findings.error("missing-key", f"{what} lacks {key!r}", node.position, f"add `{key}: …`")

    def __contains__(self, key: str) -> bool:
        return key in self.node.entries

    @property
    def position(self) -> Position:
        """Where the mapping begins."""
        return self.node.position

    def position_of(self, key: str) -> Position:
        """Where the value of ``key`` stands, or the mapping if there is none."""
        entry = self.node.entries.get(key)
        return self.node.position if entry is None else entry.node.position

    def text(self, key: str, default: _Default) -> str | _Default:
        """A word or sentence, exactly as written: ``0010`` and ``no`` stay what they are."""
        scalar = self._scalar(key, "a name or text")
        if scalar is None:
            return default
        if not scalar.text:
            self._wrong(key, scalar, "a name or text")
            return default
        return scalar.text

    def integer(
        self, key: str, default: _Default, *, minimum: int | None = None, maximum: int | None = None
    ) -> int | _Default:
        """A whole number without quotes, decimal or 0x…, within its bounds."""
        expected = "a whole number" + _bounds(minimum, maximum)
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        value = integer_of(scalar)
        if value is None or (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            self._wrong(key, scalar, expected)
            return default
        return value

    def number(
        self, key: str, default: _Default, *, minimum: float | None = None, maximum: float | None = None
    ) -> float | _Default:
        """A finite number without quotes."""
        expected = "a number" + _bounds(minimum, maximum)
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        value = number_of(scalar)
        if value is None or (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            self._wrong(key, scalar, expected)
            return default
        return value

    def numbers(self, key: str, *, count: int) -> tuple[tuple[float, Position], ...] | None:
        """A list of exactly ``count`` finite numbers, or None with a finding (or where there is no such key)."""
        expected = f"a list of {count} numbers"
        node = self._node(key)
        if node is None:
            return None
        if not isinstance(node, SequenceNode) or len(node.items) != count:
            self._wrong(key, node, expected)
            return None
        found: list[tuple[float, Position]] = []
        for item in node.items:
            value = number_of(item) if isinstance(item, ScalarNode) else None
            if value is None:
                self._wrong(key, item, expected)
                return None
            found.append((value, item.position))
        return tuple(found)

    def boolean(self, key: str, default: _Default) -> bool | _Default:
        """``true`` or ``false``; YAML 1.2 knows no other spelling."""
        scalar = self._scalar(key, "true or false")
        if scalar is None:
            return default
        value = BOOLEANS.get(scalar.text) if scalar.plain else None
        if value is None:
            self._wrong(key, scalar, "true or false")
            return default
        return value

    def choice(
        self,
        key: str,
        options: Mapping[str, _Choice],
        default: _Default,
        *,
        other_words: Mapping[str, str] | None = None,
    ) -> _Choice | _Default:
        """One of the words in ``options``; gives what the word stands for.

        ``other_words`` tells which option people mean when they write something else.
        """
        expected = f"one of {', '.join(options)}" if len(options) <= 20 else "a known word"
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        if scalar.text not in options:
            self.findings.error(
                "wrong-value",
                f"{key!r} of {self.what} is {shown(scalar.text)}, expected {expected}",
                scalar.position,
                nearest(scalar.text, options, other_words),
            )
            return default
        return options[scalar.text]

    def duration_ns(
        self, key: str, default: _Default, *, minimum_ns: int = 0, maximum_ns: int | None = None
    ) -> int | _Default:
        """A time span with its unit: ``250ms``, ``1s``, ``5m``, ``1h``, ``7d``."""
        expected = "a duration with its unit such as 250ms, 1s, 5m, 1h or 7d"
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        value = parse_duration_ns(scalar.text)
        if value is None:
            self._wrong(key, scalar, expected)
            return default
        if value < minimum_ns or (maximum_ns is not None and value > maximum_ns):
            upper = "" if maximum_ns is None else f" and at most {duration_text(maximum_ns)}"
            self._wrong(key, scalar, f"at least {duration_text(minimum_ns)}{upper}")
            return default
        return value

    def size_bytes(self, key: str, default: _Default, *, minimum: int = 0) -> int | _Default:
        """A size with its unit: ``2GB``, ``64KiB``."""
        expected = "a size with its unit such as 500MB, 2GB or 64KiB"
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        value = parse_size_bytes(scalar.text)
        if value is None or value < minimum:
            self._wrong(key, scalar, expected if value is None else f"at least {minimum} bytes")
            return default
        return value

    def texts(self, key: str) -> list[tuple[str, Position]]:
        """A list of words with their places; empty where there is no such key or something else stands there."""
        node = self._node(key)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self._wrong(key, node, "a list such as [a, b]")
            return []
        found: list[tuple[str, Position]] = []
        for item in node.items:
            if isinstance(item, ScalarNode) and item.text and not item.is_null:
                found.append((item.text, item.position))
            else:
                self._wrong(key, item, "names in the list")
        return found

    def scalars(self, key: str) -> list[ScalarNode]:
        """A list of single values as written; empty where there is no such key or something else stands there."""
        node = self._node(key)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self._wrong(key, node, "a list such as [a, b]")
            return []
        found: list[ScalarNode] = []
        for item in node.items:
            if isinstance(item, ScalarNode) and not item.is_null:
                found.append(item)
            else:
                self._wrong(key, item, "single values in the list")
        return found

    def fields(self, key: str, *, required: Sequence[str] = (), optional: Sequence[str] = (), what: str = "") -> Fields:
        """The mapping under ``key``. Absent, it reads as an empty one: every getter gives its default."""
        node = self._node(key)
        what = what or f"{key!r} of {self.what}"
        if isinstance(node, MappingNode):
            return Fields(node, self.findings, what=what, required=required, optional=optional)
        if node is not None:
            self._wrong(key, node, "a mapping")
        return Fields(MappingNode(self.position_of(key), {}), self.findings, what=what)

    def each(self, key: str, *, required: Sequence[str] = (), optional: Sequence[str] = (), what: str) -> list[Fields]:
        """The mappings of a list; empty where there is no such key or something else stands there."""
        node = self._node(key)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self._wrong(key, node, "a list of mappings")
            return []
        found: list[Fields] = []
        for number, item in enumerate(node.items, 1):
            if isinstance(item, MappingNode):
                name = f"{what} {number}"
                found.append(Fields(item, self.findings, what=name, required=required, optional=optional))
            else:
                self._wrong(key, item, "mappings in the list")
        return found

    def entries(self, key: str) -> list[Entry]:
        """The entries of a mapping whose keys are the user's own names."""
        node = self._node(key)
        if node is None:
            return []
        if not isinstance(node, MappingNode):
            self._wrong(key, node, "a mapping")
            return []
        return list(node.entries.values())

    def of(
        self, entry: Entry, *, what: str, required: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> Fields | None:
        """Read an entry's value as a mapping; None with a finding where it is none."""
        if isinstance(entry.node, MappingNode):
            return Fields(entry.node, self.findings, what=what, required=required, optional=optional)
        at = entry.position if isinstance(entry.node, ScalarNode) and entry.node.is_null else entry.node.position
        self.findings.error("wrong-value", f"{what} is {kind_of(entry.node)}, expected a mapping", at)
        return None

    def _node(self, key: str) -> Node | None:
        entry = self.node.entries.get(key)
        if entry is None:
            return None
        if isinstance(entry.node, ScalarNode) and entry.node.is_null:
            self.findings.error(
                "empty-value",
                f"{key!r} of {self.what} has no value",
                entry.position,
                'write one, or leave the key out (a name "null" or "~" wants quotes)',
            )
            return None
        return entry.node

    def _scalar(self, key: str, expected: str) -> ScalarNode | None:
        node = self._node(key)
        if node is None or isinstance(node, ScalarNode):
            return node
        self._wrong(key, node, expected)
        return None

    def _wrong(self, key: str, node: Node, expected: str) -> None:
        step = ""
        if isinstance(node, ScalarNode):
            if not node.plain and expected.startswith(("a number", "a whole number", "true")):
                step = "take the quotes away"
            elif expected.startswith("true") and node.text.lower() in YAML_1_1_BOOLEANS:
                step = f"did you mean {YAML_1_1_BOOLEANS[node.text.lower()]!r}?"
        self.findings.error(
            "wrong-value", f"{key!r} of {self.what} is {kind_of(node)}, expected {expected}", node.position, step
        )


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"
