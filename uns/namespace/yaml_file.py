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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from uns.namespace.fields import Fields
from uns.namespace.findings import Finding, Findings, Position, clipped, nearest, shown
from uns.namespace.nodes import Entry, MappingNode, Node, ScalarNode, SequenceNode, kind_of
from uns.namespace.scalars import parse_duration_ns, parse_size_bytes

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
_YAML_TAGS = "tag:yaml.org,2002:"
DEPTH_MAX = 64  # nesting; the deepest plant we know of uses 20


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
        place = min(int(error.position), len(text))
        at = Position(file, text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place))
        character = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "?")
        findings.error("syntax", f"the character U+{character:04X} is not allowed in YAML", at, "remove it")
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
            "wrong-value", f"the file is {kind_of(root)}, expected a mapping", root.position, "begin it with `uns: 1`"
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
                self._place(None)
            elif isinstance(event, ScalarEvent):
                self._refuse_marks(event, at)
                self._place(ScalarNode(at, self._checked(event.value, at), plain=event.style in (None, "")))
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

    def _checked(self, text: str, at: Position) -> str:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:  # "\\ud800" in quotes
            self._findings.error("text", "half of a surrogate pair is no character", at, "write the character itself")
            return "?"
        return text

    def _refuse_marks(self, event: Any, at: Position) -> None:
        if getattr(event, "anchor", None):
            self._findings.error("anchor", f"anchor &{clipped(str(event.anchor))}", at, "remove it: nothing may alias")
        if getattr(event, "tag", None):
            tag = clipped(str(event.tag).replace(_YAML_TAGS, "!!"))
            self._findings.error("tag", f"tag {tag}", at, "remove it: the schema gives the type")

    def _place(self, node: Node | None) -> None:
        """Put a node where it belongs; None stands for what was refused, and its key or item goes with it."""
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if top.mapping is None:
            if node is not None:
                top.items.append(node)
        elif top.key_due:
            self._take_key(top, node)
        else:
            top.key_due = True
            if top.skipped_key or top.key is None or node is None:
                return
            key, position = top.key
            top.mapping[key] = Entry(key, position, node)

    def _take_key(self, top: _Open, node: Node | None) -> None:
        assert top.mapping is not None  # noqa: S101 only mappings have keys
        top.key_due = False
        top.skipped_key = True
        if node is None:
            return
        if not isinstance(node, ScalarNode) or node.is_null or not node.text:
            self._findings.error("key", f"a key is {kind_of(node)}, expected a word", node.position)
        elif node.plain and node.text == "<<":
            self._findings.error("merge-key", "merge keys are not expanded", node.position, "write the keys out")
        elif node.text in top.mapping:
            first = top.mapping[node.text].position
            self._findings.error(
                "duplicate-key",
                f"{shown(node.text)} stands here a second time",
                node.position,
                f"the first is in line {first.line}: keep one",
            )
        else:
            top.key = (node.text, node.position)
            top.skipped_key = False
