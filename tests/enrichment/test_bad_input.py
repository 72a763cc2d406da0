"""Whatever sources and plants send: nothing is raised, everything is counted, the next good value is recorded."""

from __future__ import annotations

from datetime import timezone
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.enrichment.builders import PHASE, PROGRAM, TEMPERATURE, Host, at, batch, fact, plant
from uns.context.facts import KINDS, Fact
from uns.context.store import ContextStore
from uns.context.timeline import Timeline
from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.samples import Quality
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import SCALARS

TEXTS = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(("reactor4", "mes", "running", "released", "1", "9" * 250))
)
MOMENTS = st.datetimes(timezones=st.one_of(st.none(), st.timezones(), st.just(timezone.max), st.just(timezone.min)))


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    fields: dict[str, Any] = {
        name: draw(TEXTS) for name in ("state", "job_order", "work_order", "recipe", "lot", "use")
    }
    fields |= {name: draw(TEXTS) for name in ("phase", "shift", "person", "material", "placement", "by", "reason")}
    return Fact(
        id=draw(TEXTS) or "",
        kind=draw(st.sampled_from(sorted(KINDS))),
        equipment=draw(st.sampled_from(("reactor4", "line2", "nowhere", ""))),
        source=draw(st.sampled_from(("mes", "scanner", "plc", "erp", "x"))),
        source_rev=draw(TEXTS) or "",
        valid_from=draw(MOMENTS),
        valid_to=draw(st.one_of(st.none(), MOMENTS)),
        action=draw(st.sampled_from(("add", "change", "delete", "observe"))),
        also=draw(st.booleans()),
        **{**fields, "by": fields["by"] or ""},
    )


@given(st.lists(facts(), max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_fact_makes_the_store_fail(given_facts: list[Fact]):
    store = ContextStore(plant())
    for each in given_facts:
        answer, _ = store.receive(each, now_ns=at(0))
        assert answer.accepted or answer.reason
    assert Timeline(store).segments("reactor4", MIN_NS, MAX_NS)


@given(facts())
@settings(max_examples=100, deadline=None)
def test_a_fact_that_is_accepted_survives_the_log(one: Fact):
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1))
    if host.fact(one).accepted:
        before = host.log.records()
        host.restart()
        assert host.log.records() == before
        assert host.fact(one).accepted


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
)
CONTRACTS = st.sampled_from(
    [TEMPERATURE, PHASE, *(MetricContract(name=f"m{int(d)}", datatype=d) for d in sorted(SCALARS))]
)
TIMES = st.one_of(st.integers(at(0) - 10**12, at(0) + 10**12), st.integers(-(2**64), 2**64))
SAMPLES = st.lists(
    st.tuples(
        CONTRACTS,
        VALUES,
        TIMES,
        st.sampled_from(Quality),
        st.integers(0, 2**32 - 1),
        st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(SAMPLES, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_value_of_any_type_at_any_time_is_recorded_or_counted(payloads: list[list[tuple[Any, ...]]]):
    host = Host()
    for payload in [*payloads, *payloads]:
        given_batch = batch(*((s[0], s[1], 0) for s in payload))
        given_batch.times_ns = [s[2] for s in payload]
        given_batch.qualities = [s[3] for s in payload]
        given_batch.status_codes = [s[4] for s in payload]
        given_batch.ordinals = [s[5] for s in payload]
        host.enricher.receive_batch(given_batch, host.now_ns)
        host.commit()
        host.enricher.board.due(host.now_ns)
    counters = host.log.counters
    total = 2 * sum(len(payload) for payload in payloads)
    assert counters["received_joined"] == total
    assert counters["recorded"] + counters["duplicates_dropped"] + counters["rejected"] == total
    assert counters["recorded"] == len(host.log.samples)
    for message in host.log.outbox:
        msgspec.json.decode(message.payload)
    host.restart()
    for payload in payloads:
        given_batch = batch(*((s[0], s[1], 0) for s in payload))
        given_batch.times_ns = [s[2] for s in payload]
        given_batch.qualities = [s[3] for s in payload]
        given_batch.status_codes = [s[4] for s in payload]
        given_batch.ordinals = [s[5] for s in payload]
        host.enricher.receive_batch(given_batch, host.now_ns)
    assert host.enricher.drain().samples == [], "after a restart the same payloads are duplicates"


def test_a_context_value_of_any_length_makes_a_short_context():
    host = Host()
    host.samples((PHASE, "x" * 100_000, 1), (TEMPERATURE, 1.0, 1))
    assert len(host.context(1)["phase"]) == 256


def test_a_noisy_context_metric_costs_its_own_equipment_only():
    host = Host()
    host.fact(fact(id="d", equipment="line2", recipe="1", state="released"))
    for step in range(300):
        host.samples((PROGRAM, str(step % 2), step / 50), (TEMPERATURE, 1.0, step / 50), equipment="mill1")
    assert len(host.log.intervals) > 300
    host.samples((TEMPERATURE, 1.0, 1))
    assert {row[1] for row in host.log.intervals.values()} == {"mill1", "reactor4"}
