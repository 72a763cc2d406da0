"""Habits of real implementations, each graded by what it breaks: what hosts forgive, the doctor tells."""
# mypy: disable-error-code="func-returns-value"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.doctor.scene import Scene, broken

UINT64 = 8


def benthos_umh(s: Scene) -> None:
    """Births kept and at QoS 1, bdSeq as UInt64 with alias 0 and raised on a rebirth, seq in NDEATH, text STATE."""

    def birth(p: Any) -> None:
        p.metrics[0].datatype, p.metrics[0].alias = UINT64, 0
        p.metrics[1].alias = 2
        p.seq = s.seq

    s.nbirth(birth, qos=1)
    s.ndata()
    s.ncmd()
    s.bd_seq, s.seq = 1, 5
    s.nbirth(lambda p: (birth(p), setattr(p, "seq", 5)), qos=1)
    s.ndeath(lambda p: setattr(p, "seq", 0))
    s.nbirth(qos=1, retain=True)
    s.send("spBv1.0/STATE/h", b"ONLINE", qos=1)


def acs(s: Scene) -> None:
    """bdSeq always 0 as UInt64, aliases on everything, nanoseconds, seq in NDEATH."""

    def birth(p: Any) -> None:
        p.metrics[0].datatype = UINT64
        p.metrics[1].alias = 9
        p.timestamp *= 1_000_000
        for metric in p.metrics:
            metric.timestamp *= 1_000_000

    s.nbirth(birth)
    s.ndeath(lambda p: setattr(p, "seq", 0))
    s.nbirth(birth)


def sparkplug_plus_before_its_fixes(s: Scene) -> None:
    """bdSeq by alias alone in NDEATH, no metric timestamps, datatype in DATA."""
    s.nbirth(lambda p: [metric.ClearField("timestamp") for metric in p.metrics])
    s.ndata(lambda p: setattr(p.metrics[0], "datatype", 10))
    s.ndeath(lambda p: (p.metrics[0].ClearField("name"), setattr(p.metrics[0], "alias", 3)))


def ignition(s: Scene) -> None:
    """Datatype in DDATA and raw quality codes."""
    s.births()

    def data(p: Any) -> None:
        p.metrics[0].datatype = 10
        p.metrics[0].properties.keys.append("Quality")
        value = p.metrics[0].properties.values.add()
        value.type, value.int_value = 3, 0x8000_0204

    s.ddata(data)


def a_proto3_copy_of_the_schema(s: Scene) -> None:
    """Zeros outside the oneof are not written."""
    s.nbirth(lambda p: p.ClearField("seq"))


def sequence_per_device(s: Scene) -> None:
    """SparkplugNet, once: each device counts by itself."""
    s.births()
    s.seq = 0
    s.dbirth(lambda p: [p.metrics[0].ClearField("alias"), setattr(p, "seq", 0)], device="D2")


def smartme(s: Scene) -> None:
    """A seq taken by a message that was never sent."""
    s.births()
    s.next_seq()
    s.ddata()


PEERS: list[tuple[Callable[[Scene], None], set[str]]] = [
    (
        benthos_umh,
        {"retain.off", "bdseq.int64", "rebirth.alias", "seq.zero", "bdseq.rebirth", "seq.absent", "state.birth"},
    ),
    (
        acs,
        {"bdseq.int64", "bdseq.grows", "rebirth.alias", "payload.timestamp_ms", "metric.timestamp_ms", "seq.absent"},
    ),
    (sparkplug_plus_before_its_fixes, {"metric.timestamp", "datatype.absent", "death.metrics"}),
    (ignition, {"datatype.absent", "quality.value"}),
    (a_proto3_copy_of_the_schema, {"seq.zero", "seq.there"}),
    (sequence_per_device, {"seq.next"}),
    (smartme, {"seq.next"}),
]


@pytest.mark.parametrize(("peer", "rules"), PEERS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_habits_of_a_peer_are_named(peer: Callable[[Scene], None], rules: set[str]) -> None:
    scene = Scene()
    peer(scene)
    blamed = {rule for rule, _, subject in broken(scene) if rule != "state.retained"}
    assert rules <= blamed
    assert blamed - rules <= {"qos.zero"}
