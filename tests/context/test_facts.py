"""What is accepted, what is refused and why, and which message counts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from tests.enrichment.builders import START, at, fact, plant, when
from uns.context.facts import Fact
from uns.context.store import ContextStore, KnownFact, fact_hash
from uns.context.timeline import Timeline


def store(**options: Any) -> ContextStore:
    return ContextStore(plant(), **options)


def answer_to(given: Fact, *, topic: str | None = None) -> str:
    answer, change = store().receive(given, now_ns=at(0), source_of_topic=topic)
    assert answer.accepted == (change is not None)
    return "" if answer.accepted else str(answer.reason)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (fact(schema_name="uns1.fact/2"), "uns1.fact/1"),
        (fact(id=" "), "id is empty"),
        (fact(source_rev=""), "source_rev is empty"),
        (fact(source="nobody"), "not declared"),
        (fact("lot", source="mes"), "does not provide 'lot'"),
        (fact(equipment="reactor44"), "not in the topic tree"),
        (fact(valid_from=START.replace(tzinfo=None)), "no zone"),
        (fact(valid_from=datetime(1500, 1, 1, tzinfo=START.tzinfo)), "1678"),
        (fact(valid_to=when(-1)), "not later"),
        (fact(valid_to=when(0)), "not later"),
        (fact(job_order="  "), "null says idle"),
        (fact(state="happy"), "use one of"),
        (fact(state="completed"), "say when the job ended"),
        (msgspec.structs.replace(fact(job_order=None), state="running"), "idle"),
        (msgspec.structs.replace(fact(job_order=None), work_order="WO-1"), "idle"),
        (fact("lot", lot=None), "needs 'lot'"),
        (fact("recipe_phase", phase=" "), "needs 'phase'"),
        (fact("shift", shift=None), "needs 'shift'"),
        (fact("job", also=True), "'also'"),
        (fact(job_order="x" * 257), "at most 256"),
        (fact(job_order="a\nb"), "control characters"),
    ],
)
def test_a_refusal_says_what_to_do(given: Fact, says: str):
    assert says in answer_to(given)


def test_a_fact_belongs_to_the_source_of_its_topic():
    assert "own source" in answer_to(fact(), topic="erp")
    assert answer_to(fact(), topic="mes") == ""


def test_idle_and_every_kind_are_accepted():
    for given in (
        fact(job_order=None),
        fact(state="Running"),
        fact("lot"),
        fact("recipe_phase", phase="React"),
        fact("shift", shift="B"),
        fact("person", person="op-17"),
        fact("material", material="FG-77"),
        fact("placement", placement="acme/austin"),
        fact("lot", lot=None, action="delete"),
    ):
        assert answer_to(given) == ""


def test_the_same_message_gets_the_same_answer_and_changes_nothing():
    facts = store()
    first, change = facts.receive(fact(), now_ns=at(0))
    again, nothing = facts.receive(fact(), now_ns=at(9))
    assert first == again
    assert change is not None
    assert nothing is None


def test_the_same_instant_in_another_zone_is_the_same_content():
    facts = store()
    facts.receive(fact(), now_ns=at(0))
    elsewhere = START.astimezone(timezone(timedelta(hours=-5)))
    answer, _ = facts.receive(fact(valid_from=elsewhere), now_ns=at(0))
    assert answer.accepted
    assert fact_hash(fact()) == fact_hash(fact(valid_from=elsewhere))


def test_other_content_under_the_same_revision_is_refused():
    facts = store()
    facts.receive(fact(), now_ns=at(0))
    answer, change = facts.receive(fact(job_order="WO-9/0010"), now_ns=at(0))
    assert not answer.accepted
    assert "new source_rev" in str(answer.reason)
    assert change is None


def test_each_accepted_revision_counts_as_stated_once_more():
    facts = store()
    revisions = [facts.receive(fact(source_rev=rev), now_ns=at(0))[0].rev for rev in ("1", "2", "10", "3")]
    assert revisions == [1, 2, 3, 4]
    assert [known.fact.source_rev for known in facts.history("mes", "job:1")] == ["1", "2", "10", "3"]


@pytest.mark.parametrize("order", [("9", "10"), ("10", "9"), ("b", "a"), ("a", "b"), ("7", "a"), ("a", "7")])
def test_the_highest_revision_counts_whenever_it_comes(order: tuple[str, str]):
    facts = store()
    highest = {"9": "10", "10": "10", "a": "b", "b": "b", "7": "a"}[order[0]] if "7" not in order else "a"
    for rev in order:
        facts.receive(fact(source_rev=rev), now_ns=at(0))
    assert [f.source_rev for f in facts.current()] == [highest]


def test_an_older_revision_is_kept_and_changes_nothing():
    facts = store()
    facts.receive(fact(source_rev="2"), now_ns=at(0))
    answer, change = facts.receive(fact(source_rev="1", job_order="WO-9/0010"), now_ns=at(1))
    assert answer.accepted
    assert change is not None
    assert change.windows == ()


def test_ids_of_different_sources_are_different_facts():
    facts = store()
    facts.receive(fact(), now_ns=at(0))
    answer, _ = facts.receive(fact(source="erp", job_order="WO-9/0010"), now_ns=at(0))
    assert answer.accepted
    assert len(facts.current()) == 2


def test_a_full_store_refuses_new_facts_and_repeats_old_answers():
    facts = store(facts_max=1)
    facts.receive(fact(), now_ns=at(0))
    assert facts.receive(fact(), now_ns=at(0))[0].accepted
    answer, _ = facts.receive(fact(id="another"), now_ns=at(0))
    assert "facts_max" in str(answer.reason)


def test_explicit_overlaps_of_a_single_kind_are_findings():
    facts = store()
    facts.receive(fact(valid_to=10), now_ns=at(0))
    _, change = facts.receive(fact(id="job:2", job_order="WO-2/0010", valid_from=5), now_ns=at(0))
    assert change is not None
    [overlap] = change.overlaps
    assert (overlap.from_ns, overlap.to_ns) == (at(5), at(10))
    assert (overlap.first.id, overlap.second.id) == ("job:1", "job:2")


@pytest.mark.parametrize(
    "second",
    [
        fact(id="job:2", valid_from=10),  # it begins where the other ends
        fact(id="job:2", source="erp", valid_from=5),  # another source may think otherwise
        fact(id="job:2", equipment="line2", valid_from=5),
        fact("shift", shift="A", valid_from=5),
        fact(id="job:2", valid_from=5, state="released"),
    ],
)
def test_what_is_no_overlap(second: Fact):
    facts = store()
    facts.receive(fact(valid_to=10), now_ns=at(0))
    _, change = facts.receive(second, now_ns=at(0))
    assert change is not None
    assert change.overlaps == ()


def test_open_facts_end_at_the_next_and_are_no_overlap():
    facts = store()
    facts.receive(fact(), now_ns=at(0))
    _, change = facts.receive(fact(id="job:2", valid_from=5), now_ns=at(0))
    assert change is not None
    assert change.overlaps == ()


def test_jobs_may_overlap_where_the_class_runs_them_in_parallel():
    facts = ContextStore(plant(allow_parallel=True))
    facts.receive(fact(valid_to=10), now_ns=at(0))
    _, change = facts.receive(fact(id="job:2", job_order="WO-2/0010", valid_from=5), now_ns=at(0))
    assert change is not None
    assert change.overlaps == ()


def test_a_store_that_loads_what_it_held_is_the_same():
    facts = store()
    for given in (
        fact(),
        fact(source_rev="2", valid_from=3),
        fact("lot"),
        fact("lot", source_rev="2", action="delete"),
    ):
        facts.receive(given, now_ns=at(0))
    again = store()
    known = [k for f in (("mes", "job:1"), ("scanner", "lot:1")) for k in facts.history(*f)]
    again.load(reversed([KnownFact(k.fact, k.rev, k.known_at_ns) for k in known]))
    assert again.current() == facts.current()
    assert again.history("mes", "job:1") == facts.history("mes", "job:1")
    whole = (at(-100), at(100))
    assert Timeline(again).segments("reactor4", *whole) == Timeline(facts).segments("reactor4", *whole)
