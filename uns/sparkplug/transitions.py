"""Which inputs a session takes in which state, as tables; everything else follows from them.

What is not in a table is illegal and raises :class:`LocalProtocolError`: the caller has a bug. What peers may do wrong
never reaches these tables; sessions turn it into events before.

    edge node                                              host's view of one edge node

    DISCONNECTED ─connect─▶ CONNECTING ─connected─▶        UNKNOWN ──born, named──▶ ONLINE
      SUBSCRIBING ─subscribed─▶ BIRTH_DUE ─birth─▶ ONLINE     ▲  ▲                  │   │
           └─(primary host)─▶ WAITING_FOR_HOST ─▲   ▲  │       │  └──host_lost───────┘  died
                                       REBIRTH_DUE ─┘◀─┘       └──host_lost── OFFLINE ◀─┘
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from uns.errors import LocalProtocolError

__all__ = [
    "EDGE_TRANSITIONS",
    "HOST_NODE_TRANSITIONS",
    "HOST_TRANSITIONS",
    "EdgeInput",
    "EdgeState",
    "HostInput",
    "HostNodeInput",
    "HostNodeState",
    "HostSessionState",
    "diagram",
    "next_state",
]


class EdgeState(StrEnum):
    """Where the MQTT session of an edge node stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    WAITING_FOR_HOST = "waiting_for_host"
    BIRTH_DUE = "birth_due"
    ONLINE = "online"
    REBIRTH_DUE = "rebirth_due"  # born, but silent until the births are out again
    LEAVING = "leaving"


class EdgeInput(StrEnum):
    """What can happen to it."""

    CONNECT = "connect"
    CONNECTED = "connected"
    SUBSCRIBED = "subscribed"
    SUBSCRIBED_HOST_UNKNOWN = "subscribed_host_unknown"
    HOST_ONLINE = "host_online"
    HOST_OFFLINE = "host_offline"
    HOST_WAIVED = "host_waived"
    BIRTH = "birth"
    REBIRTH_REQUESTED = "rebirth_requested"
    PUBLISH = "publish"
    CLOSE = "close"
    DISCONNECTED = "disconnected"


_E, _I = EdgeState, EdgeInput

EDGE_TRANSITIONS: Mapping[tuple[EdgeState, EdgeInput], EdgeState] = {
    (_E.DISCONNECTED, _I.CONNECT): _E.CONNECTING,
    (_E.DISCONNECTED, _I.CLOSE): _E.DISCONNECTED,
    (_E.CONNECTING, _I.CONNECTED): _E.SUBSCRIBING,
    (_E.CONNECTING, _I.CLOSE): _E.LEAVING,
    # Subscriptions stand before the birth: a rebirth request that follows it at once must not be lost.
    (_E.SUBSCRIBING, _I.SUBSCRIBED): _E.BIRTH_DUE,
    (_E.SUBSCRIBING, _I.SUBSCRIBED_HOST_UNKNOWN): _E.WAITING_FOR_HOST,
    (_E.SUBSCRIBING, _I.HOST_ONLINE): _E.SUBSCRIBING,  # some brokers hand out retained messages before the SUBACK
    (_E.SUBSCRIBING, _I.HOST_OFFLINE): _E.SUBSCRIBING,
    (_E.SUBSCRIBING, _I.CLOSE): _E.LEAVING,
    (_E.WAITING_FOR_HOST, _I.HOST_ONLINE): _E.BIRTH_DUE,  # message-flow-edge-node-birth-publish-phid-wait
    (_E.WAITING_FOR_HOST, _I.HOST_OFFLINE): _E.WAITING_FOR_HOST,
    (_E.WAITING_FOR_HOST, _I.HOST_WAIVED): _E.BIRTH_DUE,  # by the policy of a plant that prefers it to silence
    (_E.WAITING_FOR_HOST, _I.CLOSE): _E.LEAVING,
    (_E.BIRTH_DUE, _I.HOST_ONLINE): _E.BIRTH_DUE,
    (_E.BIRTH_DUE, _I.HOST_OFFLINE): _E.WAITING_FOR_HOST,
    (_E.BIRTH_DUE, _I.BIRTH): _E.ONLINE,
    (_E.BIRTH_DUE, _I.CLOSE): _E.LEAVING,
    (_E.ONLINE, _I.PUBLISH): _E.ONLINE,  # ndata-order, ddata-order: nowhere else
    (_E.ONLINE, _I.BIRTH): _E.ONLINE,
    # operational-behavior-data-commands-rebirth-action-1: no DATA until the births are out
    (_E.ONLINE, _I.REBIRTH_REQUESTED): _E.REBIRTH_DUE,
    (_E.REBIRTH_DUE, _I.BIRTH): _E.ONLINE,
    (_E.REBIRTH_DUE, _I.HOST_ONLINE): _E.REBIRTH_DUE,
    (_E.REBIRTH_DUE, _I.HOST_OFFLINE): _E.LEAVING,
    (_E.REBIRTH_DUE, _I.CLOSE): _E.LEAVING,
    (_E.ONLINE, _I.HOST_ONLINE): _E.ONLINE,
    (_E.ONLINE, _I.HOST_OFFLINE): _E.LEAVING,  # message-flow-edge-node-birth-publish-phid-offline
    (_E.ONLINE, _I.CLOSE): _E.LEAVING,
    (_E.LEAVING, _I.CLOSE): _E.LEAVING,
    **{(state, _I.DISCONNECTED): _E.DISCONNECTED for state in EdgeState},
}


class HostSessionState(StrEnum):
    """Where the MQTT session of a host stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    ONLINE = "online"
    LEAVING = "leaving"


class HostInput(StrEnum):
    """What can happen to it."""

    CONNECT = "connect"
    CONNECTED = "connected"
    SUBSCRIBED = "subscribed"
    PUBLISH = "publish"
    CLOSE = "close"
    DISCONNECTED = "disconnected"


_H, _J = HostSessionState, HostInput

HOST_TRANSITIONS: Mapping[tuple[HostSessionState, HostInput], HostSessionState] = {
    (_H.DISCONNECTED, _J.CONNECT): _H.CONNECTING,
    (_H.DISCONNECTED, _J.CLOSE): _H.DISCONNECTED,
    (_H.CONNECTING, _J.CONNECTED): _H.SUBSCRIBING,
    (_H.CONNECTING, _J.CLOSE): _H.LEAVING,
    (_H.SUBSCRIBING, _J.SUBSCRIBED): _H.ONLINE,  # host-topic-phid-birth-required: subscribed first, then born
    (_H.SUBSCRIBING, _J.CLOSE): _H.LEAVING,
    (_H.ONLINE, _J.PUBLISH): _H.ONLINE,
    (_H.ONLINE, _J.CLOSE): _H.LEAVING,
    (_H.LEAVING, _J.CLOSE): _H.LEAVING,
    **{(state, _J.DISCONNECTED): _H.DISCONNECTED for state in HostSessionState},
}


class HostNodeState(StrEnum):
    """What a host knows of an edge node."""

    UNKNOWN = "unknown"  # its session has not been named since the host's CONNECT: nothing of it is decoded
    ONLINE = "online"
    OFFLINE = "offline"


class HostNodeInput(StrEnum):
    """What a host can learn of an edge node."""

    BORN = "born"  # NBIRTH
    NAMED = "named"  # a mark named the session whose births are held
    DIED = "died"  # NDEATH with the bdSeq of the birth
    HOST_LOST = "host_lost"  # the host's own connection began anew


_N, _K = HostNodeState, HostNodeInput

HOST_NODE_TRANSITIONS: Mapping[tuple[HostNodeState, HostNodeInput], HostNodeState] = {
    **{(state, _K.BORN): _N.ONLINE for state in HostNodeState},
    (_N.UNKNOWN, _K.NAMED): _N.ONLINE,
    (_N.ONLINE, _K.NAMED): _N.ONLINE,
    # Not (OFFLINE, NAMED): a mark that outlives its NDEATH proves nothing; only a birth does.
    (_N.UNKNOWN, _K.DIED): _N.OFFLINE,
    (_N.ONLINE, _K.DIED): _N.OFFLINE,
    (_N.OFFLINE, _K.DIED): _N.OFFLINE,  # published NDEATH, then the will
    **{(state, _K.HOST_LOST): _N.UNKNOWN for state in HostNodeState},
}


_State = TypeVar("_State", bound=StrEnum)
_Input = TypeVar("_Input", bound=StrEnum)


def next_state(table: Mapping[tuple[_State, _Input], _State], state: _State, received: _Input) -> _State:
    """The state after ``received``; raise :class:`LocalProtocolError` where the table has no entry."""
    following = table.get((state, received))
    if following is None:
        allowed = sorted(source.value for source, taken in table if taken == received)
        raise LocalProtocolError(
            f"{received.value!r} is not possible in state {state.value!r}",
            expected=f"state {' or '.join(allowed)}",
            next_step="look at the events: they say when it is time",
        )
    return following


def diagram(table: Mapping[tuple[_State, _Input], _State]) -> str:
    """The table as Mermaid text for the documentation."""
    lines = [f"    {source.value} --> {target.value}: {taken.value}" for (source, taken), target in table.items()]
    return "\n".join(["stateDiagram-v2", *lines])
