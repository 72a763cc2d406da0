"""Marks and confirmations on the wire (JSON, see docs/reference/delivery.md)."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeVar

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug.metrics import SESSION_METRIC
from uns.sparkplug.topics import ID_BYTES_MAX, EdgeNodeDescriptor, is_id_too_long

__all__ = [
    "CONFIRM_ROOT",
    "DIGEST_MODULUS",
    "GAP_METRIC",
    "MARK_FILTER",
    "MARK_ROOT",
    "SESSION_METRIC",
    "Confirm",
    "Cursor",
    "Mark",
    "confirm_topic",
    "decode_confirm",
    "decode_mark",
    "digest_of",
    "mark_topic",
    "parse_mark_topic",
]

MARK_ROOT = "uns1/_mark"
CONFIRM_ROOT = "uns1/_confirm"
MARK_FILTER = f"{MARK_ROOT}/#"
GAP_METRIC = "uns/gap"  # String metric of NDATA: what a quota dropped

_DIGEST_BYTES = 6  # a sum of them is a number that every reader of JSON reads exactly
DIGEST_MODULUS = 1 << (8 * _DIGEST_BYTES)

Cursor = Literal["live", "history"]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Edge to host: "below ``mark`` all was handed over, in ``messages`` messages since mark ``n`` - 1".

    ``digest`` is the sum of :func:`digest_of` over the payloads of those messages, modulo :data:`DIGEST_MODULUS`; None
    from a gateway of before it was there.
    """

    v: int = 1
    session: str
    host: str
    n: int
    repeat: bool
    cursor: Cursor
    mark: int
    messages: int
    digest: int | None = None


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """Host to edge: the answer to mark ``n`` of ``session``."""

    session: str
    n: int
    ok: bool


_mark_decoder = msgspec.json.Decoder(Mark)
_confirm_decoder = msgspec.json.Decoder(Confirm)
MARK_BYTES_MAX = 4096


def digest_of(payload: bytes) -> int:
    """What a DATA message adds to the digest of the mark behind it: the first 6 bytes of BLAKE2b, as a number."""
    return int.from_bytes(hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest())


def mark_topic(edge_node: EdgeNodeDescriptor) -> str:
    """Where an edge node writes its marks; ids stand raw."""
    return f"{MARK_ROOT}/{edge_node.group_id}/{edge_node.edge_node_id}"


def confirm_topic(edge_node: EdgeNodeDescriptor) -> str:
    """Where the host answers them."""
    return f"{CONFIRM_ROOT}/{edge_node.group_id}/{edge_node.edge_node_id}"


def parse_mark_topic(topic: str) -> EdgeNodeDescriptor:
    """The edge node a mark came from; raise :class:`RemoteProtocolError` for another topic."""
    levels = topic.split("/")
    if len(levels) != 4 or levels[:2] != MARK_ROOT.split("/") or not all(levels):
        raise RemoteProtocolError("not a mark topic", where=topic, expected=f"{MARK_ROOT}/group_id/edge_node_id")
    if is_id_too_long(topic):
        raise RemoteProtocolError(f"an id of more than {ID_BYTES_MAX} bytes", where=f"{topic[:ID_BYTES_MAX]}…")
    return EdgeNodeDescriptor(levels[2], levels[3])


def decode_mark(payload: bytes, *, where: str = "") -> Mark:
    """Read a mark; raise :class:`RemoteProtocolError` if it is none."""
    return _decode(_mark_decoder, payload, where)


def decode_confirm(payload: bytes, *, where: str = "") -> Confirm:
    """Read a confirmation; raise :class:`RemoteProtocolError` if it is none."""
    return _decode(_confirm_decoder, payload, where)


_T = TypeVar("_T")


def _decode(decoder: msgspec.json.Decoder[_T], payload: bytes, where: str) -> _T:
    if len(payload) > MARK_BYTES_MAX:
        raise RemoteProtocolError(f"{len(payload)} bytes", where=where, expected=f"at most {MARK_BYTES_MAX}")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested without end
        raise RemoteProtocolError(str(error), where=where, expected="a mark or confirmation object") from error
