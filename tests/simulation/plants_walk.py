"""Ways to break what is promised of the way over brokers and of clocks; as in :mod:`tests.simulation.plants`."""

from __future__ import annotations

from edge_nodes.session_clock import SessionClock
from tests.simulation import faults, run
from tests.simulation.plants import only
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.walk import WALK_RULES, BrokerWalk, SessionEnd, WalkRule

__all__ = ["PLANTED_WALK"]


def several_brokers(patch):
    patch.setattr(run, "BROKERS_WEIGHTS", (0, 1, 1))


def a_walk_that_stays_where_its_host_is_offline(patch):
    several_brokers(patch)
    patch.setitem(WALK_RULES, SessionEnd.HOST_OFFLINE, WalkRule(moves=False))


def a_walk_that_stays_where_no_broker_is(patch):
    several_brokers(patch)
    patch.setitem(WALK_RULES, SessionEnd.NOT_REACHED, WalkRule(moves=False))


def a_walk_that_leaves_a_broker_for_a_bad_line(patch):
    several_brokers(patch)
    only(patch, faults.edge_cut)
    patch.setitem(WALK_RULES, SessionEnd.LOST, WalkRule(moves=True))


def a_walk_that_goes_backwards(patch):
    several_brokers(patch)
    receive_end = BrokerWalk.receive_end

    def backwards(self, end, now_ns):
        before = self.broker
        pause_ms = receive_end(self, end, now_ns)
        self.broker = before if self.broker == before else (before - 1) % self._brokers
        return pause_ms

    patch.setattr(BrokerWalk, "receive_end", backwards)


def a_walk_without_pauses(patch):
    several_brokers(patch)
    patch.setattr(BrokerWalk, "_jittered", lambda self, pause_ms: 0)


def a_walk_whose_pauses_stay_short(patch):
    several_brokers(patch)
    jittered = BrokerWalk._jittered
    patch.setattr(BrokerWalk, "_jittered", lambda self, pause_ms: jittered(self, self._first_ms))


def an_edge_that_waits_for_ever(patch):
    several_brokers(patch)
    patch.setattr(EdgeNodeSession, "_wait_for_host", lambda self, now_ns: None)


def an_edge_that_does_not_ask_for_state(patch):
    init = EdgeNodeSession.__init__

    def deaf(self, *arguments, **options):
        init(self, *arguments, **options)
        self._state_topic = None

    patch.setattr(EdgeNodeSession, "__init__", deaf)


def an_edge_that_falls_silent_and_stays(patch):
    """It knows that its host is gone, and says nothing more; not even that it is dead."""
    leave = EdgeNodeSession._leave

    def silent(self, event):
        if event.reason != "primary_host_offline":
            leave(self, event)

    patch.setattr(EdgeNodeSession, "_leave", silent)
    only(patch, faults.host_stop, faults.host_crash)


def a_clock_that_is_set_back_unnoticed(patch):
    only(patch, faults.edge_clock_steps)
    patch.setattr(EdgeNodeSession, "receive_clock", lambda self, wall_ns, now_ns: None)


def a_clock_that_is_set_forward_unnoticed(patch):
    only(patch, faults.edge_clock_steps)
    patch.setattr(SessionClock, "follow", lambda self: 0)


PLANTED_WALK = [
    (a_walk_that_stays_where_its_host_is_offline, "WalkChecker"),
    (a_walk_that_stays_where_no_broker_is, "WalkChecker"),
    (a_walk_that_leaves_a_broker_for_a_bad_line, "WalkChecker"),
    (a_walk_that_goes_backwards, "WalkChecker"),
    (a_walk_without_pauses, "WalkChecker"),
    (a_walk_whose_pauses_stay_short, "WalkChecker"),
    (an_edge_that_waits_for_ever, "WalkChecker"),
    (an_edge_that_does_not_ask_for_state, "WalkChecker"),
    (an_edge_that_falls_silent_and_stays, "PrimaryHostChecker"),
    (a_clock_that_is_set_back_unnoticed, "ClockChecker"),
    (a_clock_that_is_set_forward_unnoticed, "ClockChecker"),
]
