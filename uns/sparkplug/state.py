"""STATE: how a host says that it is there (specification 6.4.27), and when an edge node believes it (5.4, 5.14)."""

from __future__ import annotations

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug.topics import NAMESPACE, check_id

__all__ = [
    "STATE_BYTES_MAX",
    "TIMESTAMP_MS_MAX",
    "HostState",
    "StateMemory",
    "decode_state",
    "encode_state",
    "state_topic",
]

STATE_BYTES_MAX = 4096
TIMESTAMP_MS_MAX = (1 << 63) - 1  # a host that answers such a one has nothing newer, and edges take an equal one


class HostState(msgspec.Struct, frozen=True):
    """The payload of a STATE message."""

    online: bool
    timestamp: int  # ms UTC; the wire's word


class StateMemory:
    """What an edge node remembers of one host at one broker, over reconnects, to tell new from old.

    Kept per broker: one host has a timestamp of its own at each (host-application-multi-server-timestamp).
    """

    __slots__ = ("last_ms", "last_online_ms")

    def __init__(self) -> None:
        self.last_ms: int | None = None
        self.last_online_ms: int | None = None

    def accept(self, state: HostState) -> bool:
        """Whether ``state`` counts; it is then remembered.

        Online: at least as new as any STATE before (message-flow-edge-node-birth-publish-phid-wait-timestamp).
        Offline: at least as new as the last online one (edge-node-termination-host-offline-timestamp), so that the
        late will of an old connection of the host takes nobody down.
        """
        floor = self.last_ms if state.online else self.last_online_ms
        if floor is not None and state.timestamp < floor:
            return False
        self.last_ms = state.timestamp if self.last_ms is None else max(self.last_ms, state.timestamp)
        if state.online:
            self.last_online_ms = state.timestamp
        return True


_decoder = msgspec.json.Decoder(HostState)


def state_topic(sparkplug_host_id: str) -> str:
    """Where a host writes its STATE (tck-id-host-topic-phid-birth-topic)."""
    return f"{NAMESPACE}/STATE/{check_id(sparkplug_host_id, what='sparkplug_host_id')}"


def encode_state(state: HostState) -> bytes:
    """JSON with the two keys (tck-id-host-topic-phid-birth-payload)."""
    return msgspec.json.encode(state)


def decode_state(payload: bytes) -> HostState:
    """Read a STATE; the text form of version 2.2 and everything else raises :class:`RemoteProtocolError`."""
    if len(payload) > STATE_BYTES_MAX:
        raise RemoteProtocolError(f"STATE of {len(payload)} bytes", expected=f"at most {STATE_BYTES_MAX}")
    try:
        state = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested without end
        raise RemoteProtocolError(
            f"not a STATE: {error}",
            expected='{"online": true, "timestamp": 1700000000000}',
            tck_id="tck-id-host-topic-phid-birth-payload",
        ) from error
    if not 0 <= state.timestamp <= TIMESTAMP_MS_MAX:
        raise RemoteProtocolError(
            f"STATE timestamp {state.timestamp}",
            expected="ms since 1970",
            tck_id="tck-id-host-topic-phid-birth-payload",
        )
    return state
