"""Reading the project's YAML files: positions kept, nothing expanded, nothing guessed, every finding collected.

This is the only module that sees ruamel. It takes the parser's events and builds a small tree of its own, so that
``0010`` stays ``"0010"``, ``no`` stays ``"no"``, and anchors, aliases, tags and further documents are refused before
anything is made of them. What a scalar means is decided by the getter that asks for it::

    document = load_yaml(path)
    root = document.fields(required=("uns", "gateway"), optional=("store",))
    gateway = root.text("gateway")
    bytes_max = root.fields("store", optional=("bytes_max",)).size_bytes("bytes_max", default=2_000_000_000)
    document.check()  # ConfigurationError with every finding, or nothing
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from uns.errors import ConfigurationError
from uns.namespace.findings import Finding, Findings, Position

__all__ = [
    "DEPTH_MAX",
    "FILE_BYTES_MAX",
    "Document",
    "Entry",
    "Fields",
    "Finding",
    "Findings",
    "MappingNode",
    "Node",
    "Position",
    "ScalarNode",
    "SequenceNode",
    "load_yaml",
    "nearest",
    "parse_duration_ns",
    "parse_size_bytes",
    "parse_yaml",
    "read_text",
]

FILE_BYTES_MAX = 1_000_000
DEPTH_MAX = 64  # nesting; the deepest plant we know of uses 20
SHOWN_CHARACTERS_MAX = 80  # of a value repeated in a finding


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


class Document:
    """One file: its root and the findings of reading it. ``root`` is None where the text is not even YAML."""

    def __init__(self, file: str, root: MappingNode | None, findings: Findings) -> None:
        self.file = file
        self.root = root
        self.findings = findings

    def fields(self, *, required: Sequence[str] = (), optional: Sequence[str] = (), what: str = "the file") -> Fields:
        """The root as :class:`Fields`; raises :class:`ConfigurationError` at once if there is no root."""
        if self.root is None:
            self.check()
            raise ConfigurationError("no root", where=self.file)  # unreachable: no root is a finding
        return Fields(self.root, self.findings, what=what, required=required, optional=optional)

    def check(self) -> None:
        """Raise :class:`ConfigurationError` if there are errors by now."""
        self.findings.check(f"{self.file} cannot be used", where="")


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
        for entry in node.entries.values():
            if entry.key not in allowed:
                findings.error(
                    "unknown-key",
                    f"{what} has no key {_shown(entry.key)}",
                    entry.position,
                    nearest(entry.key, allowed) or f"known are: {', '.join(allowed)}",
                )
        for key in required:
            if key not in node.entries:
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
        value = _integer(scalar)
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
        value = _number(scalar)
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
            value = _number(item) if isinstance(item, ScalarNode) else None
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
        value = _BOOLEANS.get(scalar.text) if scalar.plain else None
        if value is None:
            self._wrong(key, scalar, "true or false")
            return default
        return value

    def choice(self, key: str, options: Mapping[str, _Choice], default: _Default) -> _Choice | _Default:
        """One of the words in ``options``; gives what the word stands for."""
        expected = f"one of {', '.join(options)}" if len(options) <= 20 else "a known word"
        scalar = self._scalar(key, expected)
        if scalar is None:
            return default
        if scalar.text not in options:
            self.findings.error(
                "wrong-value",
                f"{key!r} of {self.what} is {_shown(scalar.text)}, expected {expected}",
                scalar.position,
                nearest(scalar.text, options),
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
            upper = "" if maximum_ns is None else f" and at most {_duration_text(maximum_ns)}"
            self._wrong(key, scalar, f"at least {_duration_text(minimum_ns)}{upper}")
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

    def fields(self, key: str, *, required: Sequence[str] = (), optional: Sequence[str] = (), what: str = "") -> Fields:
        """The mapping under ``key``. Absent, it reads as an empty one: every getter gives its default."""
        node = self._node(key)
        what = what or f"{key!r} of {self.what}"
        if isinstance(node, MappingNode):
            return Fields(node, self.findings, what=what, required=required, optional=optional)
        if node is not None:
            self._wrong(key, node, "a mapping")
        return Fields(MappingNode(self.position_of(key), {}), self.findings, what=what)

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
        self.findings.error("wrong-value", f"{what} is {_kind(entry.node)}, expected a mapping", at)
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
            elif expected.startswith("true") and node.text.lower() in _YAML_1_1_BOOLEANS:
                step = f"did you mean {_YAML_1_1_BOOLEANS[node.text.lower()]!r}?"
        self.findings.error(
            "wrong-value", f"{key!r} of {self.what} is {_kind(node)}, expected {expected}", node.position, step
        )


# ── from bytes to nodes ──────────────────────────────────────────────────────────────────────────────────────────


def load_yaml(path: Path) -> Document:
    """Read and parse a file; raises :class:`ConfigurationError` if it cannot be read or is not YAML."""
    document = parse_yaml(read_text(path), file=str(path))
    if document.root is None:
        document.check()
    return document


def read_text(path: Path) -> str:
    """The text of a configuration file, never more than ``FILE_BYTES_MAX``."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the file: {error.strerror or error}", where=str(path), next_step="check the path"
        ) from error
    except ValueError as error:  # a NUL in the path
        raise ConfigurationError(f"not a path: {error}", where=repr(str(path))) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigurationError(
            "the file is too large",
            where=str(path),
            expected=f"at most {FILE_BYTES_MAX} bytes",
            next_step="split it with `include:`",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"not UTF-8 at byte {error.start}", where=f"{path}:{line}", next_step="save the file as UTF-8"
        ) from error


def parse_yaml(text: str, *, file: str, findings: Findings | None = None) -> Document:
    """Parse a text. Never raises for what stands in it: the document's findings tell."""
    findings = Findings() if findings is None else findings
    start = Position(file, 1, 1)
    if len(text.encode(errors="replace")) > FILE_BYTES_MAX:
        findings.error("file-size", f"more than {FILE_BYTES_MAX} bytes", start, "split the file with `include:`")
        return Document(file, None, findings)
    try:
        root = _Builder(file, findings).build(text)
    except _GivenUp:
        return Document(file, None, findings)
    except MarkedYAMLError as error:
        _add_syntax(error, file, findings)
        return Document(file, None, findings)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        findings.error(
            "syntax",
            f"the character U+{ord(text[error.position]):04X} is not allowed in YAML",
            Position(file, line, column),
            "remove it",
        )
        return Document(file, None, findings)
    except (YAMLError, ValueError, IndexError, AttributeError, TypeError, AssertionError, RecursionError) as error:
        # The parser breaks on some malformed directives and numbers with whatever Python raised inside it.
        findings.error("syntax", f"not YAML: {type(error).__name__} {error}", start, "check the file with an editor")
        return Document(file, None, findings)
    if isinstance(root, MappingNode):
        return Document(file, root, findings)
    if root is None or (isinstance(root, ScalarNode) and root.is_null):
        findings.error("empty-file", "the file says nothing", start, "begin it with `uns: 1`")
    else:
        findings.error(
            "wrong-value", f"the file is {_kind(root)}, expected a mapping", root.position, "begin it with `uns: 1`"
        )
    return Document(file, None, findings)


def _add_syntax(error: MarkedYAMLError, file: str, findings: Findings) -> None:
    mark = error.problem_mark or error.context_mark
    at = Position(file, 1, 1) if mark is None else Position(file, mark.line + 1, mark.column + 1)
    text = (error.problem or "not YAML").strip()
    if error.context and error.context_mark is not None:
        text = f"{text} ({error.context} that begins at line {error.context_mark.line + 1})"
    findings.error("syntax", text, at, "check the indentation, quotes and brackets here and above")


class _GivenUp(Exception):  # noqa: N818 not an error of its own: the finding is made
    """The finding is made; the rest of the file cannot be understood."""


class _Open(msgspec.Struct, eq=False):
    """A list or mapping whose end has not come yet."""

    position: Position
    mapping: dict[str, Entry] | None  # None: a list
    items: list[Node]
    key: tuple[str, Position] | None = None
    key_due: bool = True
    skipped_key: bool = False  # the next value belongs to a key that was refused


class _Builder:
    """Events to nodes, with a stack of our own: depth is bounded and nothing is ever expanded."""

    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._documents = 0

    def build(self, text: str) -> Node | None:
        parser = YAML(typ="safe", pure=True)
        for event in parser.parse(text):
            at = self._position(event)
            if isinstance(event, DocumentStartEvent):
                self._document(event, at)
            elif isinstance(event, AliasEvent):
                self._findings.error("alias", "aliases are not expanded", at, "write the value out")
                self._place(ScalarNode(at, "*", plain=False))
            elif isinstance(event, ScalarEvent):
                self._refuse_marks(event, at)
                self._place(ScalarNode(at, event.value, plain=event.style in (None, "")))
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                self._refuse_marks(event, at)
                if len(self._stack) >= DEPTH_MAX:
                    self._findings.error("depth", f"nested deeper than {DEPTH_MAX}", at, "flatten the file")
                    raise _GivenUp
                is_mapping = isinstance(event, MappingStartEvent)
                self._stack.append(_Open(at, {} if is_mapping else None, []))
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                done = self._stack.pop()
                if done.mapping is None:
                    self._place(SequenceNode(done.position, done.items))
                else:
                    self._place(MappingNode(done.position, done.mapping))
        return self._root

    def _position(self, event: Any) -> Position:
        return Position(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _document(self, event: DocumentStartEvent, at: Position) -> None:
        self._documents += 1
        if self._documents > 1:
            self._findings.error("documents", "a second document begins", at, "keep one document in a file")
            raise _GivenUp
        if event.tags or (event.version is not None and tuple(event.version) != (1, 2)):
            self._findings.error("directive", "only YAML 1.2 without tag directives is read", at, "remove the % lines")

    def _refuse_marks(self, event: Any, at: Position) -> None:
        if getattr(event, "anchor", None):
            self._findings.error("anchor", f"anchor &{_clipped(str(event.anchor))}", at, "remove it: nothing may alias")
        if getattr(event, "tag", None):
            self._findings.error("tag", f"tag {_clipped(str(event.tag))}", at, "remove it: the schema gives the type")

    def _place(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if top.mapping is None:
            top.items.append(node)
        elif top.key_due:
            self._take_key(top, node)
        else:
            top.key_due = True
            if top.skipped_key or top.key is None:
                return
            key, position = top.key
            top.mapping[key] = Entry(key, position, node)

    def _take_key(self, top: _Open, node: Node) -> None:
        assert top.mapping is not None  # noqa: S101 only mappings have keys
        top.key_due = False
        top.skipped_key = True
        if not isinstance(node, ScalarNode) or node.is_null:
            self._findings.error("key", f"a key is {_kind(node)}, expected a word", node.position)
        elif node.plain and node.text == "<<":
            self._findings.error("merge-key", "merge keys are not expanded", node.position, "write the keys out")
        elif node.text in top.mapping:
            first = top.mapping[node.text].position
            self._findings.error(
                "duplicate-key",
                f"{_shown(node.text)} stands here a second time",
                node.position,
                f"the first is in line {first.line}: keep one",
            )
        else:
            top.key = (node.text, node.position)
            top.skipped_key = False


# ── scalars ──────────────────────────────────────────────────────────────────────────────────────────────────────

# YAML 1.2 core schema, nothing of 1.1: no octal 0010, no sexagesimal 12:30, no yes and no.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_YAML_1_1_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,32}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s?(ns|us|ms|s|m|min|h|d)")
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def parse_duration_ns(text: str) -> int | None:
    """``250ms``, ``1.5s``, ``5m``, ``1h``, ``7d`` in nanoseconds; None if it is no duration."""
    match = _DURATION.fullmatch(text)
    return None if match is None else _scaled(match[1], _DURATION_NS[match[2]])


def parse_size_bytes(text: str) -> int | None:
    """``2GB`` (10⁹), ``64KiB`` (2¹⁰) in bytes; None if it is no size."""
    match = _SIZE.fullmatch(text)
    return None if match is None else _scaled(match[1], _SIZE_BYTES[match[2]])


def _scaled(decimal: str, factor: int) -> int:
    """Exact: 0.1 s is 100_000_000 ns, whatever a float makes of 0.1."""
    whole, _, fraction = decimal.partition(".")
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def _duration_text(duration_ns: int) -> str:
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if duration_ns and duration_ns % _DURATION_NS[unit] == 0:
            return f"{duration_ns // _DURATION_NS[unit]}{unit}"
    return f"{duration_ns}ns"


def _integer(scalar: ScalarNode) -> int | None:
    if not scalar.plain:
        return None
    if _INTEGER.fullmatch(scalar.text):
        return int(scalar.text)
    return int(scalar.text, 16) if _HEXADECIMAL.fullmatch(scalar.text) else None


def _number(scalar: ScalarNode) -> float | None:
    if not scalar.plain:
        return None
    if _HEXADECIMAL.fullmatch(scalar.text):
        return float(int(scalar.text, 16))
    if not _NUMBER.fullmatch(scalar.text):
        return None
    value = float(scalar.text)
    return value if abs(value) != float("inf") else None


# ── words for findings ───────────────────────────────────────────────────────────────────────────────────────────


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the nearest known word, or an empty text."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:SHOWN_CHARACTERS_MAX], by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]!r}?" if close else ""


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.items)}"
    return "empty" if node.is_null else _shown(node.text)


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"


def _shown(text: str) -> str:
    return repr(_clipped(text))
