"""B2MML documents as they lie on the wire: versions, verbs, and a stream of elements that nothing outside can swell.

No DTD is taken, no entity expanded, nothing fetched. Size is checked before anything is parsed, depth and the number
of elements alive at a time while it is parsed; whoever reads gives elements back with :func:`forget`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from lxml import etree

__all__ = [
    "VERSIONS",
    "B2mmlDocument",
    "DocumentRefused",
    "Limits",
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
_QUIET_BYTES_MAX = 1024 * 1024
_PARSER_DEPTH_MAX = 256  # libxml2's, unless it is told to take huge documents


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a document may cost, whoever sent it."""

    body_bytes_max: int = 64 * 1024 * 1024
    depth_max: int = 64
    live_elements_max: int = 50_000  # with their attributes: of one order, or of whatever is not given back
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


class B2mmlDocument:
    """An opened document: what its root says, and its elements as they end."""

    def __init__(self, root: etree._Element, events: Iterator[tuple[str, etree._Element]], limits: Limits) -> None:
        space, _, self.root_name = _tag(root).rpartition("}")
        self.namespace = space[1:]
        self.version = VERSIONS[self.namespace]
        self.verb, self.noun = _verb_and_noun(self.root_name)
        self.release_id = root.get("releaseID")
        self._events = events
        self._limits = limits

    def ends(self, *names: str) -> Iterator[tuple[str, etree._Element]]:
        """Each element of these names when it has ended, with its name; those in others too, before these.

        The caller forgets what it has read. Depth and what is alive are watched for all elements. Raises
        :class:`DocumentRefused`.
        """
        wanted = {f"{{{self.namespace}}}{name}": name for name in names}
        depth_max, live_max = self._limits.depth_max, self._limits.live_elements_max
        depth = live = 1
        began: list[int] = []  # elements alive before each wanted element that is open
        line = 1
        try:
            for event, element in self._events:
                tag = element.tag
                if event == "start":
                    depth += 1
                    live += 1 + len(element.attrib)
                    if depth > depth_max or live > live_max:
                        line = line_of(element)
                        raise _too_deep(depth_max, line) if depth > depth_max else _too_many(live_max, line)
                    if tag in wanted:
                        began.append(live - 1 - len(element.attrib))
                else:
                    depth -= 1
                    if tag in wanted:
                        line = line_of(element)
                        before = began.pop()
                        yield wanted[tag], element
                        if len(element) == 0 and live > before + 1:
                            live = before  # emptied by its reader; the shell goes with the next one
        except etree.XMLSyntaxError as error:
            raise _syntax(error, line) from error


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
    """Read up to the root. Raises :class:`DocumentRefused`."""
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
    events = _events(body)
    try:
        _, root = next(events)
    except etree.XMLSyntaxError as error:
        raise _syntax(error, 1) from error
    _check_prolog(root)
    space, _, name = _tag(root).rpartition("}")
    if space[1:] not in VERSIONS:
        known = ", ".join(f"{version} ({uri})" for uri, version in VERSIONS.items())
        raise DocumentRefused(
            "namespace",
            f"the root {name!r} is of namespace {space[1:]!r}, which is no version of B2MML that is read here",
            f"write one of: {known}",
            line=line_of(root),
        )
    return B2mmlDocument(root, events, limits)


def _verb_and_noun(name: str) -> tuple[Verb, str]:
    for verb in _VERBS:
        if name.startswith(verb) and name[len(verb) : len(verb) + 1].isupper():
            return verb, name[len(verb) :]
    return "", name


def _events(body: bytes) -> Iterator[tuple[str, etree._Element]]:
    parser: Any = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    quiet = 0  # bytes since an element began or ended
    for start in range(0, len(body), _CHUNK):
        parser.feed(body[start : start + _CHUNK])
        quiet += _CHUNK
        for event in parser.read_events():
            quiet = 0
            yield event
        if quiet > _QUIET_BYTES_MAX:
            raise DocumentRefused(
                "too-large",
                f"more than {_QUIET_BYTES_MAX:,} bytes make one tag, text or comment",
                "no B2MML document needs that; look at what wrote it",
            )
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


def _too_deep(depth_max: int, line: int) -> DocumentRefused:
    return DocumentRefused(
        "too-deep",
        f"elements are nested deeper than {depth_max} (depth_max)",
        "no B2MML document needs that; look at what wrote it",
        line=line,
    )


def _too_many(live_max: int, line: int) -> DocumentRefused:
    return DocumentRefused(
        "too-many-elements",
        f"one order holds more than live_elements_max = {live_max:,} elements",
        "split the order, or look at what wrote it",
        line=line,
    )


def _doctype() -> DocumentRefused:
    return DocumentRefused(
        "doctype", "the document has a DOCTYPE; definitions and entities are not taken", "send it without one"
    )


def _syntax(error: etree.XMLSyntaxError, line: int) -> DocumentRefused:
    if "depth" in (error.msg or "").lower():  # the parser's own bound, reached within one piece of the document
        return _too_deep(_PARSER_DEPTH_MAX, line)
    at, column = error.position if error.position[0] is not None else (line, 1)
    text = (error.msg or "not well-formed").rpartition(", line")[0] or error.msg or "not well-formed"
    return DocumentRefused(
        "xml",
        f"not well-formed XML: {text}",
        "it may be cut off: send the whole file again, under a temporary name first, and rename it when it is complete",
        line=max(at, 1),
        column=max(column, 1),
    )
