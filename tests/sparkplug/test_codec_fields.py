"""What reads payloads, held against protobuf's own parser, on messages damaged field by field."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug import field_fuzz
from tests.sparkplug.goldens import TABLE
from tests.sparkplug.test_codec_robustness import DECODERS, check
from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.documents import document_from_json, document_to_json
from uns.sparkplug.wire import has_room

ANY = 1 << 40


def nodes_of(message: Message) -> int:
    """How many objects the parser made of repeated fields."""
    count = 0
    for field, value in message.ListFields():
        if isinstance(value, Message):
            count += nodes_of(value)
        elif field.message_type is not None:
            count += len(value) + sum(nodes_of(one) for one in value)
        elif field.is_repeated and field.type == field.TYPE_STRING:
            count += len(value)
    return count


def meaning(payload: bytes) -> list[str]:
    """Every field that the schema knows, as text: there any NaN is NaN."""
    message = Payload.FromString(payload)
    message.DiscardUnknownFields()
    return [str(metric) for metric in message.metrics] + [str((message.timestamp, message.seq, message.uuid))]


def read(decode: Any, payload: bytes) -> Any:
    try:
        return decode(payload)
    except RemoteProtocolError as error:
        return error


def hold(payload: bytes) -> bool:
    """Compare; whether protobuf could parse it."""
    try:
        message = Payload.FromString(payload)
    except DecodeError:
        assert all(isinstance(read(decode, payload), RemoteProtocolError) for decode in DECODERS.values())
        return False
    nodes = nodes_of(message)
    assert not nodes or not has_room(payload, metrics_max=ANY, nodes_max=nodes - 1)  # counted before, and not too few
    if message.uuid == "SPBV1.0_COMPRESSED":
        return True
    count = len(message.metrics)
    data = codec.decode_data(payload, TABLE)
    assert len(data.values) + len(data.rejected) == count  # nothing is passed over in silence
    command = codec.decode_command(payload, TABLE)
    assert len(command.metrics) + len(command.rejected) == count
    birth = codec.decode_birth(payload)
    assert len(birth.metrics) + sum(1 for one in birth.rejected if one.raw or one.alias is None) >= count
    if not isinstance(message.uuid, str):
        assert isinstance(read(codec.decode_document, payload), RemoteProtocolError)
        return True
    document, forgiven = codec.decode_document(payload)
    if not forgiven:  # else it is written as it should have been
        again = codec.encode_document(document_from_json(document_to_json(document)))
        assert meaning(again) == meaning(payload)
    return True


def hold_all(seed: int, count: int) -> None:
    parsed = 0
    for payload in field_fuzz.payloads(seed, count):
        try:
            parsed += hold(payload)
            check(payload)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {payload.hex()}") from error
    assert count // 3 < parsed < count


def test_messages_damaged_field_by_field_are_read_as_protobuf_reads_them():
    hold_all(seed=4, count=2_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(200, 204))
def test_a_hundred_thousand_messages_damaged_field_by_field(seed):
    hold_all(seed, 25_000)
