from __future__ import annotations

import msgspec
import pytest

from uns.delivery.messages import (
    DIGEST_MODULUS,
    MARK_BYTES_MAX,
    Confirm,
    Mark,
    confirm_topic,
    decode_confirm,
    decode_mark,
    digest_of,
    mark_topic,
    parse_mark_topic,
)
from uns.errors import RemoteProtocolError
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
MARK = Mark(session="s", host="h", n=7, repeat=False, cursor="live", mark=81234, messages=412, digest=9007199254740)


def test_mark_stands_on_the_wire_as_the_reference_says():
    assert msgspec.json.encode(MARK) == (
        b'{"v":1,"session":"s","host":"h","n":7,"repeat":false,"cursor":"live","mark":81234,"messages":412,'
        b'"digest":9007199254740}'
    )


def test_mark_of_a_gateway_of_before_the_digest_is_read():
    old = b'{"v":1,"session":"s","host":"h","n":7,"repeat":false,"cursor":"live","mark":81234,"messages":412}'
    assert decode_mark(old) == msgspec.structs.replace(MARK, digest=None)


def test_digest_is_what_the_reference_says():
    """BLAKE2b of 6 bytes, as `b2sum -l 48` prints it: others may write gateways, too."""
    assert digest_of(b"") == 0xDDD9_C407_67F9
    assert digest_of(b"abc") == 0x13C9_497C_2425
    assert DIGEST_MODULUS < 2**53


def test_mark_and_confirm_survive_the_wire():
    confirm = Confirm(session="s", n=7, ok=True)
    assert decode_mark(msgspec.json.encode(MARK)) == MARK
    assert decode_confirm(msgspec.json.encode(confirm)) == confirm


def test_unknown_fields_are_ignored():
    assert decode_confirm(b'{"session":"s","n":1,"ok":true,"later":1}').ok


@pytest.mark.parametrize("cut", range(len(msgspec.json.encode(MARK))))
def test_a_truncated_mark_is_a_remote_error(cut):
    with pytest.raises(RemoteProtocolError):
        decode_mark(msgspec.json.encode(MARK)[:cut])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'{"session":1,"n":1,"ok":true}',
        b'{"session":"s","n":"1","ok":true}',
        b'{"session":"s","n":1}',
        b"\xff\xfe",
        b'{"session":"\xff","n":1,"ok":true}',
        b'{"session":"s","n":1,"ok":true}x',
    ],
)
def test_garbage_is_a_remote_error(payload):
    with pytest.raises(RemoteProtocolError):
        decode_confirm(payload, where="uns1/_confirm/g/n")


def test_a_huge_payload_is_not_even_parsed():
    padded = msgspec.json.encode(MARK) + b" " * MARK_BYTES_MAX
    with pytest.raises(RemoteProtocolError, match="at most"):
        decode_mark(padded)


def test_topics_carry_ids_raw():
    assert mark_topic(NODE) == "uns1/_mark/acme.dallas/gw-1"
    assert confirm_topic(NODE) == "uns1/_confirm/acme.dallas/gw-1"
    assert parse_mark_topic(mark_topic(NODE)) == NODE


@pytest.mark.parametrize(
    "topic", ["uns1/_mark", "uns1/_mark/g", "uns1/_mark/g/", "uns1/_mark/g/n/d", "uns1/_confirm/g/n", "spBv1.0/g/n/x"]
)
def test_other_topics_are_no_mark_topics(topic):
    with pytest.raises(RemoteProtocolError):
        parse_mark_topic(topic)
