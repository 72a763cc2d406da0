"""Each probe passes at a broker that keeps the rules, and fails at one with its fault."""

from __future__ import annotations

import pytest

from tests.broker_check.faulty import FaultyBroker
from uns.adapters.broker_address import BrokerAddress
from uns.errors import UnreachableError
from uns.runtime.broker_check import needs, standard
from uns.runtime.broker_check.check import PROBES, check_broker
from uns.runtime.broker_check.probing import Probing

pytestmark = pytest.mark.integration

BY_NAME = {probe.name: probe for probe in PROBES}
EIGHT = [probe.name for probe in standard.STANDARD_PROBES]

# By probe: faults, the verdict, and words of what was seen.
FAULTS = [
    ("will", "no_will", "fails", "no Will within"),
    ("will", "will_always", "fails", "after DISCONNECT"),
    ("will", "will_qos_0", "fails", "came at QoS 0"),
    ("takeover", "no_takeover", "fails", "both clients"),
    ("takeover", "no_will", "warns", "no Will is sent"),
    ("keep_alive", "no_keep_alive", "fails", "still connected"),
    ("takeover", "second_refused", "fails", "the second client is refused (code 2)"),
    ("mqtt_5", "", "warns", "refused with code 132"),
    ("mqtt_5", "five mute", "warns", "nothing is delivered"),
    ("share", "", "warns", "nothing is ever delivered"),
    ("share", "share_refused", "ok", "refused"),
    ("share", "share_cuts", "warns", "ends the connection"),
    ("share", "share_all", "warns", "delivered as 20 and 20"),
    ("retained_after_restart", "forgets", "warns", "gone after a restart"),
    ("spaces", "space_cuts", "fails", "ends the connection"),
    ("spaces", "denies", "fails", "not delivered"),
    ("retained_leak", "no_retained", "fails", "not delivered at all"),
    ("retained_leak", "leaks", "fails", "a client that did not ask got uns-probe/abcdef/kept"),
    ("retained_leak", "leaks_again", "fails", "the first subscriber got it 1 times more"),
    ("queue", "queue_drops", "warns", "100 of 200 messages reached"),
    ("queue", "queue_cuts", "warns", "cut a subscriber"),
    ("rights", "denies", "fails", "denied silently"),
    ("rights", "subscribe_refused", "fails", "is refused"),
    ("node_rights", "denies", "warns", "not seen"),
    ("node_rights", "subscribe_refused", "fails", "read spBv1.0/G/NCMD/E"),
    ("payload", "small", "fails", "262,144 bytes did not arrive"),
    ("payload", "medium", "warns", "262,144 bytes arrived, 1,048,576 did not"),
    ("qos", "raises_qos", "warns", "QoS 0 is delivered at QoS 1"),
    ("qos", "lowers_qos", "warns", "QoS 1 at QoS 0"),
    ("state", "lowers_qos", "warns", "delivered at QoS 0"),
    ("order", "overtakes", "fails", "message 17 of 400 was overtaken"),
    ("order", "drops", "fails", "399 of 400"),
    ("qos", "denies", "fails", "0 of 2"),
    ("state", "no_retained", "fails", "does not reach a later subscriber"),
    ("state", "will_not_kept", "fails", "looks online"),
    ("state", "no_delete", "fails", "deletes nothing"),
]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker in this process answers at once."""
    for module in (standard, needs):
        monkeypatch.setattr(module, "ARRIVAL_S", 0.5)
        monkeypatch.setattr(module, "QUIET_S", 0.2)
    monkeypatch.setattr(standard, "KEEP_ALIVE_S", 1)
    monkeypatch.setattr(standard, "KEEP_ALIVE_WAIT_S", 2.5)
    monkeypatch.setattr(needs, "QUEUE_MESSAGES", 200)


async def run(broker: FaultyBroker, name: str) -> tuple[str, str]:
    async def restart() -> None:
        broker.restart()

    probing = Probing(BrokerAddress(url=broker.url), token="abcdef", node=("G", "E"), restart=restart)
    return await BY_NAME[name].run(probing)


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - {"share"}))
async def test_a_broker_that_keeps_the_rules_passes(name: str) -> None:
    async with FaultyBroker("five") as broker:
        verdict, seen = await run(broker, name)
    assert verdict == "ok", seen


@pytest.mark.parametrize(("name", "fault", "verdict", "words"), FAULTS)
async def test_a_fault_is_found(name: str, fault: str, verdict: str, words: str) -> None:
    async with FaultyBroker(*fault.split()) as broker:
        found, seen = await run(broker, name)
    assert (found, words in seen) == (verdict, True), seen


def test_every_probe_can_say_no() -> None:
    assert {name for name, _, verdict, _ in FAULTS if verdict in {"warns", "fails"}} == set(BY_NAME)
    assert EIGHT == [
        "will",
        "takeover",
        "keep_alive",
        "mqtt_5",
        "share",
        "retained_after_restart",
        "spaces",
        "retained_leak",
    ]


async def test_a_broker_that_is_not_ours_is_not_restarted() -> None:
    async with FaultyBroker() as broker:
        probing = Probing(BrokerAddress(url=broker.url), token="abcdef")
        assert (await BY_NAME["retained_after_restart"].run(probing))[0] == "not_probed"


async def test_a_check_writes_on_its_prefix_alone_and_clears_it() -> None:
    async with FaultyBroker() as broker:
        report = await check_broker(BrokerAddress(url=broker.url))
        assert broker.published
        assert all(topic.startswith(report.prefix.removesuffix("#")) for topic in broker.published)
        assert report.prefix.startswith("uns-probe/")
        assert not broker.retained
    assert [probe.verdict for probe in report.probes] == sorted(
        (probe.verdict for probe in report.probes), key=["fails", "warns", "not_probed", "ok"].index
    )


async def test_a_broker_that_refuses_is_unreachable() -> None:
    async with FaultyBroker("refuses") as broker:
        with pytest.raises(UnreachableError, match="refuses the connection with code 1"):
            await check_broker(BrokerAddress(url=broker.url))
