from __future__ import annotations

import json

import pytest

from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug.state import STATE_BYTES_MAX, HostState, StateMemory, decode_state, encode_state, state_topic


def test_state_has_the_two_keys():  # host-topic-phid-birth-payload, payloads-state-birth-payload
    assert json.loads(encode_state(HostState(True, 5))) == {"online": True, "timestamp": 5}
    assert decode_state(b' {"timestamp":5,"online":false,"more":[1]} ') == HostState(False, 5)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"ONLINE",  # 2.2 text on the 3.0 topic (benthos-umh)
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b'{"online":true}',
        b'{"timestamp":1}',
        b'{"online":1,"timestamp":1}',
        b'{"online":"true","timestamp":1}',
        b'{"online":true,"timestamp":"1"}',
        b'{"online":true,"timestamp":1.5}',
        b'{"online":true,"timestamp":-1}',
        b'{"online":true,"timestamp":99999999999999999999}',
        b'{"online":true,"timestamp":1}' + b" " * STATE_BYTES_MAX,
    ],
)
def test_what_is_no_state_is_refused(payload):
    with pytest.raises(RemoteProtocolError):
        decode_state(payload)


def test_state_truncated_at_every_byte():
    payload = encode_state(HostState(True, 1_700_000_000_000))
    for end in range(len(payload)):
        with pytest.raises(RemoteProtocolError):
            decode_state(payload[:end])


# Each row: what came before, what comes, whether it counts.
ONLINE_5, OFFLINE_5, OFFLINE_9 = HostState(True, 5), HostState(False, 5), HostState(False, 9)


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp")
@pytest.mark.parametrize(
    ("before", "state", "counts"),
    [
        ([], HostState(True, 0), True),  # phid-wait-timestamp: the first is valid
        ([], HostState(False, 0), True),
        ([ONLINE_5], HostState(True, 5), True),
        ([ONLINE_5], HostState(True, 4), False),
        ([ONLINE_5], HostState(False, 5), True),  # phid-offline: equal is obeyed
        ([ONLINE_5], HostState(False, 4), False),  # termination-host-offline-timestamp: a late will
        ([ONLINE_5, OFFLINE_9], HostState(True, 8), False),  # at least the last STATE of any kind
        ([ONLINE_5, OFFLINE_9], HostState(True, 9), True),
        ([ONLINE_5, OFFLINE_9], HostState(False, 5), True),  # offline is measured by the last online
        ([OFFLINE_9], HostState(False, 1), True),  # no online seen yet
        ([OFFLINE_9, HostState(False, 1)], HostState(True, 8), False),
    ],
)
def test_state_counts(before, state, counts):
    memory = StateMemory()
    for earlier in before:
        memory.accept(earlier)
    assert memory.accept(state) is counts


def test_host_id_must_fit_a_topic():
    with pytest.raises(LocalProtocolError):
        state_topic("a/b")
