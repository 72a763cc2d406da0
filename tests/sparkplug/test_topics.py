from __future__ import annotations

import pytest

from tests.sparkplug.helpers import NODE
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug.topics import (
    DeviceTopic,
    EdgeNodeDescriptor,
    MessageType,
    NodeTopic,
    StateTopic,
    check_id,
    parse_topic,
)


@pytest.mark.tck(
    "tck-id-topic-structure",
    "tck-id-topic-structure-namespace-a",
)
@pytest.mark.parametrize("message_type", list(MessageType))
def test_topic_round_trip(message_type):  # topic-structure, topics-*-topic, …-device-id-(non-)associated-message-types
    device = "reactor 4" if message_type.startswith("D") else None
    text = NODE.topic(message_type, device)
    assert text.split("/")[:4] == ["spBv1.0", "acme.dallas", message_type.value, "gw-reaction-1"]
    parsed = parse_topic(text)
    assert isinstance(parsed, NodeTopic if device is None else DeviceTopic)
    assert str(parsed) == text


def test_state_topic():  # host-topic-phid-birth-topic
    assert parse_topic("spBv1.0/STATE/h") == StateTopic("h")
    assert str(StateTopic("h")) == "spBv1.0/STATE/h"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spBv1.0",
        "spAv1.0/g/NDATA/e",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/NDATA/e/d",
        "spBv1.0/g/DDATA/e",
        "spBv1.0/g/DDATA/e/d/x",
        "spBv1.0/g/WHAT/e",
        "spBv1.0//NDATA/e",
        "spBv1.0/g/NDATA/",
        "spBv1.0/STATE",
        "spBv1.0/STATE/h/x",
        "spBv1.0/STATE/NDATA/e",
        "STATE/h",
    ],
)
def test_what_is_no_sparkplug_topic_is_refused(text):
    with pytest.raises(RemoteProtocolError):
        parse_topic(text)


@pytest.mark.parametrize("text", ["", "a/b", "a+", "#", "a\x00", "a\n", "x" * 257])
def test_ids_that_cannot_stand_in_a_topic(text):  # topic-structure-namespace-valid-*-id, intro-*-id-chars
    with pytest.raises(LocalProtocolError):
        check_id(text, what="device_id")


def test_group_named_state_is_refused():
    with pytest.raises(LocalProtocolError, match="collides"):
        check_id("STATE", what="group_id")


def test_device_id_goes_with_device_messages_only():
    with pytest.raises(LocalProtocolError):
        NODE.topic(MessageType.NDATA, "d")
    with pytest.raises(LocalProtocolError):
        EdgeNodeDescriptor("g", "e").topic(MessageType.DDATA)
