"""From bytes to a parsed message: bounds first, objects after; and what all readers share."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload, PlainData
from uns.errors import RemoteProtocolError
from uns.sparkplug.metrics import Property, RejectReason
from uns.sparkplug.wire import NODE_BYTES_MIN, InflateError, has_room, inflate

__all__ = [
    "ARRAY_ELEMENTS_MAX",
    "CELLS_MAX",
    "COMPRESSED",
    "DEFAULT_LENIENCY",
    "DEPTH_MAX",
    "METRICS_MAX",
    "NAME_BYTES_MAX",
    "NANOSECONDS",
    "NODES_MAX",
    "PAYLOAD_BYTES_MAX",
    "PROPERTIES_MAX",
    "TIMESTAMP_MS_MAX",
    "Leniency",
    "Payload",
    "PlainData",
    "Reading",
    "Rejected",
    "check_bounds",
    "checked_time",
    "parse",
    "parse_checked",
    "parse_plain",
    "seq_of",
    "time_of",
]

if api_implementation.Type() == "python":  # pragma: no cover - depends on the installation
    raise ImportError(
        "protobuf runs on its pure Python backend, which is some 20 times too slow for a plant; install a protobuf "
        "wheel that has the upb backend, and unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    )

PAYLOAD_BYTES_MAX = 1 << 20
METRICS_MAX = 50_000
NODES_MAX = 200_000  # metrics, members, rows, cells, properties, parameters, names of columns: about 100 bytes each
NAME_BYTES_MAX = 1024
PROPERTIES_MAX = 64  # of one metric, or of one set
DEPTH_MAX = 8  # of templates in templates, and of property sets in property sets
CELLS_MAX = 10_000  # of one DataSet
ARRAY_ELEMENTS_MAX = 1 << 20  # of all arrays of one payload: a boolean is a bit there, and eight bytes here
TIMESTAMP_MS_MAX = ((1 << 63) - 1) // 1_000_000  # in the year 2262: what fits into a signed 64-bit count of ns

_NS_PER_MS = 1_000_000
_YEAR_2000_MS = 946_684_800_000
_ENVELOPE = "SPBV1.0_COMPRESSED"
COMPRESSED, NANOSECONDS = "compressed_payload", "nanosecond_timestamp"  # names of what is forgiven by option
_ALGORITHMS = frozenset({"DEFLATE", "GZIP"})
_SEQ_MODULUS = 256  # a peer that counts on beyond it still says the order


class Leniency(msgspec.Struct, frozen=True):
    """What is read only where the installation says so, because it could hide a fault elsewhere."""

    scale_nanoseconds: bool = False  # timestamps that can only be ns (some Factory+ edge nodes) become ms
    inflate_bytes_max: int = 0  # 0: compressed payloads (uuid SPBV1.0_COMPRESSED) are refused


DEFAULT_LENIENCY = Leniency()


class Rejected(Exception):  # noqa: N818
    """Says why one metric is left out; never leaves the codec."""

    def __init__(self, reason: RejectReason) -> None:
        self.reason: RejectReason = reason
        super().__init__(reason)


class Reading:
    """What reading one payload has used up and forgiven so far."""

    __slots__ = ("depth", "elements_left", "forgiven", "leniency", "notes", "payload_time", "sets", "sets_met_again")

    def __init__(self, leniency: Leniency, payload_time: int | None) -> None:
        self.leniency = leniency
        self.payload_time = payload_time
        self.notes: dict[str, int] = {}
        self.forgiven = 0
        self.elements_left = ARRAY_ELEMENTS_MAX
        self.depth = 0
        # Property sets by their bytes: many metrics of a birth have the same. None: of this birth few do.
        self.sets: dict[bytes, tuple[Property, ...]] | None = {}
        self.sets_met_again = 0

    def forgive(self, what: str) -> None:
        """Count one leniency."""
        self.forgiven += 1
        self.notes[what] = self.notes.get(what, 0) + 1

    def take_elements(self, count: int) -> None:
        """Use room for array elements, or reject what has none."""
        if count > self.elements_left:
            raise Rejected("out_of_range")
        self.elements_left -= count

    def enter(self) -> None:
        """Go one template or property set deeper; pair it with :meth:`leave`."""
        if self.depth >= DEPTH_MAX:
            raise Rejected("out_of_range")
        self.depth += 1

    def leave(self) -> None:
        """Come back."""
        self.depth -= 1


def check_bounds(payload: bytes) -> None:
    """Limits first, objects after. Raises :class:`RemoteProtocolError`."""
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise RemoteProtocolError(f"payload of {size} bytes", expected=f"at most {PAYLOAD_BYTES_MAX}")
    # Fewer bytes cannot hold more metrics: the common payload needs no look at all.
    if size > METRICS_MAX * NODE_BYTES_MIN and not has_room(payload, metrics_max=METRICS_MAX, nodes_max=NODES_MAX):
        raise RemoteProtocolError(
            f"payload of more than {METRICS_MAX} metrics or {NODES_MAX} metrics, rows, cells and properties",
            expected="fewer, spread over more messages",
        )


def parse(payload: bytes, leniency: Leniency = DEFAULT_LENIENCY) -> Payload:
    """Parse within the bounds; raises :class:`RemoteProtocolError`. Undoes the compression envelope by option."""
    check_bounds(payload)
    return parse_checked(payload, leniency)


def parse_checked(payload: bytes, leniency: Leniency, notes: dict[str, int] | None = None) -> Payload:
    """:func:`parse` for bytes whose bounds were checked. ``notes`` takes what was forgiven."""
    try:
        message = Payload.FromString(payload)
    except DecodeError as error:
        raise RemoteProtocolError(
            "not a Sparkplug B payload", expected="protobuf of org.eclipse.tahu.protobuf.Payload"
        ) from error
    if message.uuid != _ENVELOPE:
        return message
    inner = _inflated(message, leniency)
    if notes is not None:
        notes[COMPRESSED] = 1
    return inner


def parse_plain(payload: bytes) -> PlainData | None:
    """Parse bytes whose bounds were checked as plain DATA; None where they hold anything else, or say it otherwise.

    What is unknown to the smaller schema, twice there, or longer than it need be would change the size.
    """
    try:
        message = PlainData.FromString(payload)
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    return message if message.ByteSize() == len(payload) else None


def _inflated(envelope: Payload, leniency: Leniency) -> Payload:
    bytes_max = min(leniency.inflate_bytes_max, PAYLOAD_BYTES_MAX)
    if not bytes_max:
        raise RemoteProtocolError(
            "compressed payload",
            expected="one that is not: none is inflated here",
            next_step="switch compression off at the sender, or read it: `uns host run --accept-compressed`, or "
            "inflate_bytes_max in a program",
        )
    algorithm = next((metric.string_value for metric in envelope.metrics if metric.name == "algorithm"), "DEFLATE")
    if str(algorithm).upper() not in _ALGORITHMS:
        raise RemoteProtocolError(f"payload compressed by {algorithm!r:.40}", expected="DEFLATE or GZIP")
    try:
        inner = inflate(envelope.body, bytes_max)
    except InflateError as error:
        raise RemoteProtocolError(
            f"compressed payload: {error}",
            expected=f"a zlib or gzip stream of at most {bytes_max} bytes inside",
            next_step="send it uncompressed, or raise inflate_bytes_max",
        ) from error
    message = parse(inner)  # without leniency: one layer only
    for field in ("timestamp", "seq"):  # both stand in both; the envelope's serve where the inner ones are left out
        if envelope.HasField(field) and not message.HasField(field):
            setattr(message, field, getattr(envelope, field))
    return message


def seq_of(message: Payload | PlainData) -> int | None:
    """The seq of a payload, or None where it has none."""
    return message.seq % _SEQ_MODULUS if message.HasField("seq") else None


def checked_time(raw: int, leniency: Leniency) -> int:
    """A timestamp of the wire in ms; rejects what no clock says."""
    if raw > TIMESTAMP_MS_MAX:
        time_ms = raw // _NS_PER_MS
        if leniency.scale_nanoseconds and time_ms <= TIMESTAMP_MS_MAX:
            return time_ms
        raise Rejected("nanosecond_timestamp" if _YEAR_2000_MS <= time_ms <= TIMESTAMP_MS_MAX else "out_of_range")
    return raw


def time_of(message: Any, leniency: Leniency) -> int | None:
    """The payload's own timestamp, or None where it has none that can be."""
    try:
        return checked_time(message.timestamp, leniency) if message.HasField("timestamp") else None
    except Rejected:
        return None
