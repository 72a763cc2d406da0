"""The one seam to protobuf: Sparkplug B payloads to and from births, data columns, deaths and commands.

Theory. Presence counts in this schema (proto2): a value of 0 is written, a null has ``is_null`` and no value. Signed
integers travel as two's complement in unsigned fields. DATA names metrics by alias and leaves out their type, so it
can only be read with the alias table of its birth; that table also says which member of the oneof to read, which is
what makes reading fast: the generic "which member is set" costs more than all the rest together. A member that was not
set reads as its default, therefore a value that equals its default gets a second look.

Reading is lenient where peers are known to differ (UInt32 in ``long_value``, narrow signed integers in both forms,
datatype or name repeated in DATA), and counts what it forgave. What cannot be read is rejected metric by metric with a
reason; only a payload that is no payload, or that is larger than its bounds, raises :class:`RemoteProtocolError`.
Writing is strict and raises :class:`LocalProtocolError`.

Rooms: ``parsing`` (bounds, then bytes to messages) · ``reading_values`` and ``writing_values`` (one value, each kind) ·
``reading`` and ``writing`` (whole payloads, as sessions need them) · ``documents`` (any payload, as it is).
"""

from __future__ import annotations

from uns.sparkplug.codec.documents import decode_document, encode_document
from uns.sparkplug.codec.parsing import (
    ARRAY_ELEMENTS_MAX,
    CELLS_MAX,
    COMPRESSED,
    DEFAULT_LENIENCY,
    DEPTH_MAX,
    METRICS_MAX,
    NAME_BYTES_MAX,
    NANOSECONDS,
    NODES_MAX,
    PAYLOAD_BYTES_MAX,
    PROPERTIES_MAX,
    TIMESTAMP_MS_MAX,
    Leniency,
)
from uns.sparkplug.codec.reading import (
    DEATH_LENIENCY,
    decode_birth,
    decode_command,
    decode_data,
    decode_death,
    decode_seq,
)
from uns.sparkplug.codec.writing import encode_birth, encode_command, encode_data, encode_death, encode_empty

__all__ = [
    "ARRAY_ELEMENTS_MAX",
    "CELLS_MAX",
    "COMPRESSED",
    "DEATH_LENIENCY",
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
    "decode_birth",
    "decode_command",
    "decode_data",
    "decode_death",
    "decode_document",
    "decode_seq",
    "encode_birth",
    "encode_command",
    "encode_data",
    "encode_death",
    "encode_document",
    "encode_empty",
]
