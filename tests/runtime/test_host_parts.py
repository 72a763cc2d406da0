"""Parts of the host that need no broker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import structlog

from tests.runtime.plants import TREE_TEXT
from tests.sparkplug.helpers import MS, T0, born
from uns.adapters.mqtt import BrokerAddress
from uns.cli.main import main
from uns.enrichment.plan import OutboxMessage
from uns.errors import ConfigurationError
from uns.namespace.loader import load_tree
from uns.runtime.backoff import Backoff
from uns.runtime.host.announcements import DEAD_LETTERS_PER_MINUTE_MAX, Announcer
from uns.runtime.host.kept_state import KeptState
from uns.runtime.host.options import HostOptions, parse_duration_ns, parse_size
from uns.runtime.host.process import Host
from uns.sparkplug import codec
from uns.sparkplug.messages import DeviceDied, NodeDied, NodeResumed
from uns.sparkplug.topics import EdgeNodeDescriptor

NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")
BIRTH = codec.decode_birth(codec.encode_birth([], timestamp_ms=1, seq=0))
RESUMED = NodeResumed(edge_node=NODE, session_id="s", bd_seq=0, birth=BIRTH, devices={"reactor4": BIRTH})


class Shown:
    """What an announcer shows and publishes."""

    def __init__(self, tmp_path) -> None:
        file = tmp_path / "topic_tree.yaml"
        file.write_text(TREE_TEXT)
        self.now_ns = 0
        self.retained: dict[str, Any] = {}
        self.notices: list[OutboxMessage] = []
        self.announcer = Announcer(
            load_tree(file),
            show=lambda topic, payload: self.retained.__setitem__(topic, msgspec.json.decode(payload or b"null")),
            notice=self._notice,
            now_ns=lambda: self.now_ns,
            log=structlog.get_logger(),
        )

    def _notice(self, message: OutboxMessage) -> bool:
        self.notices.append(message)
        return True


@pytest.fixture
def shown(tmp_path):
    return Shown(tmp_path)


def test_dead_letters_have_a_rate_and_the_rest_is_counted(shown):
    kept = [shown.announcer.dead_letter("t", "why", b"x") for _ in range(DEAD_LETTERS_PER_MINUTE_MAX + 7)]
    assert kept.count(True) == len(shown.notices) == DEAD_LETTERS_PER_MINUTE_MAX
    assert shown.announcer.counters["dead_letters_suppressed"] == 7
    shown.now_ns += 61 * 10**9
    assert shown.announcer.dead_letter("t", "why", b"x")
    letter = msgspec.json.decode(shown.notices[-1].payload)
    assert (letter["topic"], letter["reason"], letter["payload"], letter["payload_bytes"]) == ("t", "why", "eA==", 1)


def test_every_health_says_what_is_wrong_with_the_host_until_it_is_mended(shown):
    shown.announcer.show_all()
    topic = "uns1/acme/dallas/line2/reactor4/_health"
    assert shown.retained[topic]["gateways"] == [{"gateway": "gw-1", "state": "unknown"}]
    shown.announcer.trouble("raw_log", "the disk is full")
    assert shown.retained[topic]["host"] == {"raw_log": "the disk is full"}
    shown.announcer.trouble("raw_log", None)
    shown.announcer.due()
    assert "host" in shown.retained[topic], "what works for a moment does not work yet"
    shown.now_ns += 2 * 10**9
    shown.announcer.trouble("raw_log", "the disk is full")
    shown.announcer.trouble("raw_log", None)
    shown.now_ns += 2 * 10**9
    shown.announcer.due()
    assert "host" in shown.retained[topic]
    shown.now_ns += 2 * 10**9
    shown.announcer.due()
    assert "host" not in shown.retained[topic]


def test_a_death_of_a_node_nobody_has_heard_of_is_no_state(shown):
    shown.announcer.show_all()
    shown.announcer.receive(NodeDied(edge_node=NODE, session_id="s", reason="ndeath", since_ns=0), None)
    health = shown.retained["uns1/acme/dallas/line2/reactor4/_health"]
    assert health["gateways"][0]["state"] == "unknown"


@pytest.mark.tck("tck-id-operational-behavior-host-reordering-param")
def test_the_reorder_timeout_of_a_host_is_the_one_of_its_options(shown, tmp_path):
    broker = BrokerAddress(url="mqtt://h")
    options = HostOptions(tree=tmp_path, broker=broker, store=tmp_path, reorder_timeout_ms=700)
    session = Host(options, load_tree(tmp_path / "topic_tree.yaml"), structlog.get_logger()).session
    session.connect(T0)
    session.receive_connected(T0)
    session.receive_subscribed(T0)
    peer = born(session, node=NODE)
    peer.data(seq=4)
    assert session.next_deadline_ns() == T0 + 700 * MS
    session.receive_timer(T0 + 700 * MS - 1)
    assert session.counters["reorder_timeouts"] == 0
    session.receive_timer(T0 + 700 * MS)
    assert session.counters["reorder_timeouts"] == 1


@pytest.mark.parametrize(("per_second", "asked"), [(10, 1), (0, 0)])
def test_a_host_asks_for_rebirths_or_looks_on_as_its_options_say(shown, tmp_path, per_second, asked):
    broker = BrokerAddress(url="mqtt://h")
    options = HostOptions(tree=tmp_path, broker=broker, store=tmp_path, rebirths_per_second_max=per_second)
    session = Host(options, load_tree(tmp_path / "topic_tree.yaml"), structlog.get_logger()).session
    session.connect(T0)
    session.receive_connected(T0)
    session.receive_subscribed(T0)
    born(session, node=NODE).data(seq=4)
    for _ in range(3):
        if (deadline := session.next_deadline_ns()) is not None:
            session.receive_timer(deadline)
    assert session.counters["rebirth_requests_reorder_timeout"] == asked


def test_no_negative_number_of_rebirths(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["host", "run", "--rebirths-per-second", "-1"])
    assert ended.value.code == 2
    assert "--rebirths-per-second" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0ms", "11m", "soon"])
def test_a_reorder_timeout_that_makes_no_sense_is_refused(text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["host", "run", "--reorder-timeout", text])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.tck("tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline")
def test_a_device_is_shown_offline_since_the_time_of_its_ddeath(shown):
    shown.now_ns = 60 * 10**9
    shown.announcer.show_all()
    shown.announcer.receive(
        NodeResumed(edge_node=NODE, session_id="s", bd_seq=0, birth=BIRTH, devices={"reactor4": BIRTH}), None
    )
    death = DeviceDied(
        edge_node=NODE, device_id="reactor4", session_id="s", reason="ddeath", timestamp_ms=45_000, since_ns=45 * 10**9
    )
    shown.announcer.receive(death, None)
    (gateway,) = shown.retained["uns1/acme/dallas/line2/reactor4/_health"]["gateways"]
    assert (gateway["state"], gateway["since"]) == ("offline", "1970-01-01T00:00:45.000Z")


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
)
def test_a_node_that_died_takes_its_devices_offline_since_the_host_received_it(shown):
    shown.announcer.show_all()
    shown.announcer.receive(
        NodeResumed(edge_node=NODE, session_id="s", bd_seq=0, birth=BIRTH, devices={"reactor4": BIRTH}), None
    )
    shown.now_ns = 60 * 10**9
    shown.announcer.receive(NodeDied(edge_node=NODE, session_id="s", reason="ndeath", since_ns=59 * 10**9), None)
    (gateway,) = shown.retained["uns1/acme/dallas/line2/reactor4/_health"]["gateways"]
    assert (gateway["state"], gateway["since"]) == ("offline", "1970-01-01T00:00:59.000Z")


def test_waits_double_up_to_a_bound_and_fall_back_after_a_steady_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    backoff = Backoff(first_s=1.0, max_s=8.0, steady_s=10.0)
    waits = [backoff.next_s() for _ in range(6)]
    for wait, step in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert step / 2 <= wait <= step
    backoff.works()
    clock[0] += 3  # did not last: two hosts with one id throw each other out
    assert backoff.next_s() >= 4
    backoff.works()
    clock[0] += 11
    assert backoff.next_s() <= 1


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512MiB", 512 * 2**20), ("1000", 1000), ("1.5kb", 1500)]
)
def test_sizes_are_numbers_with_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "duration_ns"), [("7d", 7 * 86_400 * 10**9), ("300s", 300 * 10**9), ("5ms", 5 * 10**6)]
)
def test_durations_are_numbers_with_units(text, duration_ns):
    assert parse_duration_ns(text) == duration_ns


def test_other_sizes_and_durations_say_the_form():
    with pytest.raises(ConfigurationError, match="GiB"):
        parse_size("2 parsec")
    with pytest.raises(ConfigurationError, match="ms, s, m, h or d"):
        parse_duration_ns("soon")


def test_the_api_listens_in_the_store_unless_told(tmp_path):

    options = HostOptions(tree=tmp_path, broker=BrokerAddress(url="mqtt://h"), store=tmp_path)
    assert options.api_address == f"unix:{tmp_path}/host.sock"


def test_newest_state_timestamp_is_kept_over_a_restart_and_never_goes_back(tmp_path):
    log = structlog.get_logger()
    assert KeptState(tmp_path, log).load() == 0
    kept = KeptState(tmp_path, log)
    kept.keep(2_000)
    kept.keep(1_000)
    assert KeptState(tmp_path, log).load() == 2_000
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"state_seen_ms": "x"}', b" " * 100_000])
def test_kept_state_that_cannot_be_read_keeps_nobody_from_starting(tmp_path, content):
    (tmp_path / "state.json").write_bytes(content)
    assert KeptState(tmp_path, structlog.get_logger()).load() == 0


def test_state_that_cannot_be_kept_keeps_nobody_from_connecting(tmp_path):
    KeptState(tmp_path / "missing", structlog.get_logger()).keep(5)
