"""B2MML documents as they lie on the wire: versions, verbs, and a stream of elements that nothing outside can swell.

No DTD is taken, no entity expanded, nothing fetched. Size is checked before anything is parsed, depth and the number
of elements alive at a time while it is parsed; whoever reads gives elements back with :func:`forget`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
from lxml import etree

__all__ = [
    "VERSIONS",
    "B2mmlDocument",
    "DocumentRefused",
    "Limits",
    "Step",
    "Verb",
    "forget",
    "line_of",
    "name_of",
    "open_document",
]

# Namespace of each version that is read. V0701 carries no version in its name any more.
VERSIONS = {
    "http://www.mesa.org/xml/B2MML": "V0701",
    "http://www.mesa.org/xml/B2MML-V0600": "V0600",
    "http://www.wbf.org/xml/B2MML-V0401": "V0401",
}

Verb = Literal["", "Get", "Show", "Process", "Acknowledge", "Change", "Respond", "Cancel", "Sync", "Confirm"]
_VERBS: tuple[Verb, ...] = ("Get", "Show", "Process", "Acknowledge", "Change", "Respond", "Cancel", "Sync", "Confirm")

# What libxml2 and people agree upon. Exotic encodings are a way past filters, not a way to write orders.
_ENCODINGS = frozenset({"UTF-8", "UTF-16", "US-ASCII", "ASCII", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252"})
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_DOCTYPES = tuple("<!DOCTYPE".encode(code) for code in ("ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"))
_CHUNK = 65_536


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a document may cost, whoever sent it."""

    body_bytes_max: int = 64 * 1024 * 1024
    depth_max: int = 64
    live_elements_max: int = 50_000  # of one order, or of anything else that is not given back
    orders_max: int = 100_000


class DocumentRefused(Exception):  # noqa: N818 - it says what happened
    """The document cannot be read at all. Becomes one finding; nothing of the document counts."""

    def __init__(self, rule: str, text: str, next_step: str, line: int = 1, column: int = 1) -> None:
        self.rule = rule
        self.text = text
        self.next_step = next_step
        self.line = line
        self.column = column
        super().__init__(text)


class Step(NamedTuple):
    """An element begins or ends. ``name`` is empty for elements of other namespaces."""

    begins: bool
    name: str
    element: etree._Element


class B2mmlDocument(msgspec.Struct):
    """An opened document: what its root says, and its elements as they come."""

    namespace: str
    version: str
    root_name: str
    verb: Verb
    noun: str
    release_id: str | None
    steps: Iterator[Step]


def name_of(element: etree._Element, namespace: str) -> str:
    """The local name of an element of ``namespace``, or an empty text."""
    space, _, name = _tag(element).rpartition("}")
    return name if space[1:] == namespace else ""


def line_of(element: etree._Element) -> int:
    """Where an element begins, from 1."""
    line: Any = element.sourceline
    return line or 1


def _tag(element: etree._Element) -> str:
    tag: Any = element.tag  # a function for comments and entities
    return tag if isinstance(tag, str) else ""


def forget(element: etree._Element) -> None:
    """Give an element back that was read to its end, and the one of its name before it.

    The element itself stays as an empty shell until the next one comes: the parser may still append its tail.
    """
    element.clear(keep_tail=True)  # type: ignore[call-arg]  # the stubs are older than lxml 4.4
    before = element.getprevious()
    if before is not None and before.tag == element.tag:
        parent = element.getparent()
        if parent is not None:
            parent.remove(before)


def open_document(body: bytes, limits: Limits) -> B2mmlDocument:
    """Read up to the root. Raises :class:`DocumentRefused`, here or from ``steps``."""
    if not body.strip():
        raise DocumentRefused("xml", "the document is empty", "send the file again when it is completely written")
    if len(body) > limits.body_bytes_max:
        raise DocumentRefused(
            "too-large",
            f"the document has {len(body):,} bytes; at most body_bytes_max = {limits.body_bytes_max:,} are read",
            "split it: one schedule may come in several documents",
        )
    if any(mark in body for mark in _DOCTYPES):
        raise _doctype()
    _check_encoding(body)
    steps = _steps(body, limits)
    first = next(steps)
    root = first.element
    space, _, name = _tag(root).rpartition("}")
    namespace = space[1:]
    version = VERSIONS.get(namespace)
    if version is None:
        known = ", ".join(f"{found} ({uri})" for uri, found in VERSIONS.items())
        raise DocumentRefused(
            "namespace",
            f"the root {name!r} is of namespace {namespace!r}, which is no version of B2MML that is read here",
            f"write one of: {known}",
            line=line_of(root),
        )
    verb, noun = _verb_and_noun(name)
    return B2mmlDocument(
        namespace=namespace,
        version=version,
        root_name=name,
        verb=verb,
        noun=noun,
        release_id=root.get("releaseID"),
        steps=_named(first, steps, namespace),
    )


def _verb_and_noun(name: str) -> tuple[Verb, str]:
    for verb in _VERBS:
        if name.startswith(verb) and name[len(verb) : len(verb) + 1].isupper():
            return verb, name[len(verb) :]
    return "", name


def _named(first: Step, steps: Iterator[Step], namespace: str) -> Iterator[Step]:
    yield Step(first.begins, name_of(first.element, namespace), first.element)
    prefix = "{" + namespace + "}"
    length = len(prefix)
    for begins, _, element in steps:
        tag = _tag(element)
        name = tag[length:] if tag.startswith(prefix) else ""
        yield Step(begins, name, element)


def _steps(body: bytes, limits: Limits) -> Iterator[Step]:
    """Every begin and end. Counts what is alive; what ``forget`` empties is counted down by its own elements."""
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = 0
    began: list[int] = []  # elements alive when each open element began, itself among them
    live = 0
    line = 1
    try:
        for event, element in _events(parser, body):
            if event == "start":
                depth += 1
                live += 1
                began.append(live)
                if depth == 1:
                    _check_prolog(element)
                _check_bounds(depth, live, limits, element)
                line = line_of(element)
                yield Step(True, "", element)
            else:
                yield Step(False, "", element)
                depth -= 1
                at = began.pop()
                if len(element) == 0 and live > at:
                    live = at - 1  # emptied by its reader; the shell goes with the next one
    except etree.XMLSyntaxError as error:
        raise _syntax(error, line) from error


def _events(parser: Any, body: bytes) -> Iterator[tuple[str, etree._Element]]:
    for start in range(0, len(body), _CHUNK):
        parser.feed(body[start : start + _CHUNK])
        yield from parser.read_events()
    parser.close()
    yield from parser.read_events()


def _check_encoding(body: bytes) -> None:
    declared = _DECLARED.search(body[:512].replace(b"\0", b""))
    if declared is None:
        return
    encoding = declared[1].decode("ascii").upper()
    if encoding not in _ENCODINGS:
        raise DocumentRefused("encoding", f"the document is encoded in {encoding[:40]!r}", "write it in UTF-8")


def _check_prolog(root: etree._Element) -> None:
    info: Any = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None:
        raise _doctype()


def _check_bounds(depth: int, live: int, limits: Limits, element: etree._Element) -> None:
    if depth > limits.depth_max:
        raise DocumentRefused(
            "too-deep",
            f"elements are nested deeper than depth_max = {limits.depth_max}",
            "no B2MML schedule needs that; look at what wrote it",
            line=line_of(element),
        )
    if live > limits.live_elements_max:
        raise DocumentRefused(
            "too-many-elements",
            f"one order holds more than live_elements_max = {limits.live_elements_max:,} elements",
            "split the order, or look at what wrote it",
            line=line_of(element),
        )


def _doctype() -> DocumentRefused:
    return DocumentRefused(
        "doctype", "the document has a DOCTYPE; definitions and entities are not taken", "send it without one"
    )


def _syntax(error: etree.XMLSyntaxError, line: int) -> DocumentRefused:
    at, column = error.position if error.position[0] is not None else (line, 1)
    text = (error.msg or "not well-formed").rpartition(", line")[0] or error.msg or "not well-formed"
    return DocumentRefused(
        "xml",
        f"not well-formed XML: {text}",
        "it may be cut off: send the whole file again, under a temporary name first, and rename it when it is complete",
        line=max(at, 1),
        column=max(column, 1),
    )
