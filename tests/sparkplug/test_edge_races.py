"""What comes together: a birth that is due and the end of the session, devices and rebirths, storms of commands."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.sparkplug.helpers import (
    HOST_ID,
    MS,
    STATE_TOPIC,
    T0,
    T0_MS,
    S,
    batch_of,
    edge_session,
    metric,
    node_birth,
    online_edge,
    published,
    rebirth_command,
    state_payload,
    subscribed_edge,
)
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import BirthDue, Disconnect, Publish
from uns.sparkplug.transitions import EdgeState

NCMD = "spBv1.0/acme.dallas/NCMD/gw-reaction-1"
STEPS = 60

ENDS: dict[str, Callable[[EdgeNodeSession], None]] = {
    "closed": lambda session: session.close(T0 + 5 * S),
    "clock_set_back": lambda session: session.receive_clock(T0, T0 + 5 * S),
    "connection_lost": lambda session: session.receive_disconnected(T0 + 5 * S),
    "primary_host_offline": lambda session: session.receive_message(
        STATE_TOPIC, state_payload(online=False, timestamp=T0_MS + 1), T0 + 5 * S
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("born", [False, True], ids=["birth", "rebirth"])
def test_a_birth_that_was_due_when_the_session_ended_is_not_due_any_more(end: str, born: bool):
    """Events are read after a batch of messages: nobody must be told to give birth on a connection that ends."""
    options = {"primary_host_id": HOST_ID}
    if born:
        session = edge_session(**options)
        session.connect(bd_seq=7, session_id="s", now_ns=T0)
        session.receive_connected(T0)
        session.receive_message(STATE_TOPIC, state_payload(), T0)
        session.receive_subscribed(T0)
        session.birth(node_birth(), T0)
        session.events()
        session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    else:
        session = subscribed_edge(**options)
        session.receive_message(STATE_TOPIC, state_payload(), T0)
    ENDS[end](session)
    assert not [event for event in session.events() if isinstance(event, BirthDue)]


def test_ten_thousand_rebirth_requests_make_one_birth_a_second():
    session = online_edge()
    births = 0
    for n in range(10_000):
        now_ns = T0 + n * MS  # ten seconds of them
        session.receive_message(NCMD, rebirth_command(), now_ns)
        session.receive_timer(now_ns)
        if any(isinstance(event, BirthDue) for event in session.events()):
            session.birth(node_birth(), now_ns)
            session.events()
            births += sum("NBIRTH" in message.topic for message in published(session))
    assert births == 9


@pytest.mark.parametrize("seed", range(200))
def test_whatever_comes_in_whatever_order_the_events_are_true_when_they_are_read(seed: int):
    """No event asks for what is impossible; NBIRTH is the first message, and NDEATH the last."""
    chance = random.Random(seed)
    session = edge_session(
        primary_host_id=chance.choice([None, HOST_ID]),
        host_wait_max_ms=chance.choice([None, 100]),
        when_host_silent=chance.choice(["wait", "leave", "publish"]),
        leaves_offline_host=chance.random() < 0.5,
        command_devices=("reactor4",),
    )
    now_ns, newest_ms, wire = T0, T0_MS, list[str]()
    for bd_seq in range(STEPS):
        now_ns += chance.choice([0, MS, 50 * MS, 300 * MS, 1500 * MS])
        if session.state is EdgeState.DISCONNECTED:
            wire.clear()
            session.connect(bd_seq=bd_seq, session_id=str(bd_seq), now_ns=now_ns, broker=chance.choice("ab"))
        newest_ms += chance.choice([-1, 0, 1])
        chance.choice([_arrive, _command, _act, _end])(session, chance, now_ns, newest_ms)
        session.receive_timer(now_ns)
        if chance.random() < 0.6:
            for event in session.events():
                if isinstance(event, BirthDue):
                    session.birth(node_birth(devices={d: [metric()] for d in "de" if chance.random() < 0.5}), now_ns)
            actions = session.actions()
            wire += [a.message.topic.split("/")[2] for a in actions if isinstance(a, Publish)]
            wire += ["DISCONNECT" for a in actions if isinstance(a, Disconnect)]
        assert [kind for kind in wire if kind != "DISCONNECT"][:1] in ([], ["NBIRTH"])
        assert "NDEATH" not in wire or wire[wire.index("NDEATH") + 1 :] == ["DISCONNECT"]


def _arrive(session: EdgeNodeSession, chance: random.Random, now_ns: int, newest_ms: int) -> None:
    """On the way to ONLINE, with STATE before, between and after."""
    if session.state is EdgeState.CONNECTING:
        session.receive_connected(now_ns)
    elif session.state is EdgeState.SUBSCRIBING and chance.random() < 0.5:
        session.receive_subscribed(now_ns)
    state = state_payload(online=chance.random() < 0.6, timestamp=newest_ms)
    session.receive_message(STATE_TOPIC, state, now_ns, retain=chance.random() < 0.3)


def _command(session: EdgeNodeSession, chance: random.Random, now_ns: int, _newest_ms: int) -> None:
    topic = chance.choice([NCMD, NCMD.replace("NCMD", "DCMD") + "/reactor4"])
    session.receive_message(topic, rebirth_command(), now_ns, retain=chance.random() < 0.1)


def _act(session: EdgeNodeSession, chance: random.Random, now_ns: int, _newest_ms: int) -> None:
    """Data, and devices that come and go."""
    device = chance.choice("de")
    if session.state is not EdgeState.ONLINE:
        return
    if device not in session.devices:
        session.device_birth(device, [metric()], now_ns)
    elif chance.random() < 0.5:
        session.device_death(device, now_ns)
    else:
        session.publish_data(device, batch_of(session.bindings(device).values(), [1.0]), now_ns)


def _end(session: EdgeNodeSession, chance: random.Random, now_ns: int, _newest_ms: int) -> None:
    chance.choice(
        [
            session.close,
            session.receive_disconnected,
            lambda now: session.receive_clock(now - 2 * S, now),
            lambda now: session.receive_clock(now - S // 2, now),
        ]
    )(now_ns)
