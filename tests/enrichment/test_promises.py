"""Promises 2 and 3 over generated days of a plant: any order, duplicates, restarts; and what was known when."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.enrichment import oracle
from tests.enrichment.builders import PHASE, PLC_LOT, PROGRAM, TEMPERATURE, Host, batch, fact, plant
from tests.enrichment.memory_log import Record
from uns.context.facts import Fact
from uns.enrichment.samples import SampleBatch
from uns.namespace.model import TopicTree

SEEDS = int(os.environ.get("UNS_CONTEXT_SEEDS", "60"))


class Day:
    """A generated set of facts and payloads on a small grid of times, so that ties and overlaps are common."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tree = plant(
            bridge_ns=self.random.choice((0, 6_000_000_000)),
            requires=self.random.choice((("job", "lot"), ("job",), ("job",), ("lot", "recipe_phase"), ())),
            allow_parallel=self.random.random() < 0.3,
        )
        self.facts: list[Fact] = []
        for number in range(self.random.randint(4, 18)):
            self.facts += self.messages(number)
        self.batches = [self.payload(number) for number in range(self.random.randint(6, 16))]

    def messages(self, number: int) -> list[Fact]:
        """One fact in one to three revisions, each of which may say something else."""
        pick = self.random.choice
        kind = pick(
            (
                "job",
                "job",
                "job",
                "job",
                "job",
                "lot",
                "lot",
                "shift",
                "person",
                "material",
                "recipe_phase",
                "placement",
            )
        )
        source = {"job": ("mes", "erp"), "lot": ("scanner", "erp"), "recipe_phase": ("plc",)}.get(kind)
        found = []
        for revision in self.random.sample(("1", "2", "10", "a"), self.random.randint(1, 3)):
            start = self.random.randint(0, 40)
            fields: dict[str, Any] = {
                "id": f"{kind}:{number}",
                "source_rev": revision,
                "valid_from": start,
                "valid_to": pick((None, start + self.random.randint(1, 15))),
                "equipment": pick(("reactor4", "reactor4", "reactor4", "mill1", "mill1", "line2", "reaction")),
                "action": pick(("add", "add", "add", "add", "add", "change", "delete")),
                kind if kind != "recipe_phase" else "phase": f"{kind}-{pick('AB')}",
            }
            if source is not None:
                fields["source"] = source[number % len(source)]
            if kind == "job":
                fields.pop("job")
                order = pick((None, "WO-1/0010", "WO-2/0010"))
                fields |= {
                    "job_order": order,
                    "work_order": "W1" if order == "WO-1/0010" else "W2",
                    "recipe": pick(("81@2", "81@2", "82")),
                    "state": pick(("running", "running", "held", "released", "released", "cancelled")),
                }
            elif kind == "lot":
                fields |= {"material": pick((None, "M1", "M2")), "also": pick((False, False, True))}
                fields["use"] = pick((None, "Produced"))
            if kind in ("person", "material"):
                fields["also"] = pick((False, True))
            found.append(fact(kind, **fields))
        if kind == "job" and self.random.random() < 0.5:
            found.append(self.companion(number, found[-1]))
        return found

    def companion(self, number: int, job: Fact) -> Fact:
        """The same job again after a short gap, or another one beside it."""
        start = (job.valid_to or job.valid_from) + timedelta(seconds=self.random.randint(-3, 6))
        fields = {"id": f"job:{number}b", "valid_from": start, "valid_to": start + timedelta(seconds=8)}
        if self.random.random() < 0.3:
            fields |= {"job_order": "WO-9/0010", "state": "running"}
        return msgspec.structs.replace(job, **fields)

    def payload(self, number: int) -> SampleBatch:
        equipment = self.random.choice(("reactor4", "reactor4", "mill1", "mill1", "tank9"))
        samples: list[tuple[Any, ...]] = []
        for _ in range(self.random.randint(1, 6)):
            seconds = self.random.randint(0, 40)
            pick = self.random.random()
            if equipment == "mill1" and pick < 0.4:
                samples.append((PROGRAM, self.random.choice(("81", "82", "", None)), seconds))
            elif equipment == "reactor4" and pick < 0.3:
                samples.append((PHASE, self.random.choice(("Heat", "React", "")), seconds))
            elif equipment == "reactor4" and pick < 0.4:
                samples.append((PLC_LOT, self.random.choice(("L-P", "")), seconds, self.random.choice((0, 0, 2))))
            else:
                samples.append((TEMPERATURE, self.random.randint(0, 3) / 2, seconds))
        # Ordinals as our edge gives them: never two samples of one metric and ms with the same ordinal.
        given = {(s[0].name, s[2]): i for i, s in enumerate(samples)}
        unique = [samples[i] for i in given.values()]
        return batch(*((s[0], s[1], s[2], s[3] if len(s) > 3 else 0, number) for s in unique), equipment=equipment)

    def steps(self) -> list[oracle.Step]:
        found: dict[tuple[str, str, int, int], oracle.Step] = {}
        for payload in self.batches:
            for i, contract in enumerate(payload.metrics):
                value, ordinal = payload.values[i], (payload.ordinals or [])[i] or 0
                quality = 0 if payload.qualities is None else int(payload.qualities[i])
                if contract.provides is None or value is None or quality > 1:
                    continue
                key = payload.equipment, contract.name, payload.times_ns[i], ordinal
                found[key] = (*key[:2], contract.provides, *key[2:], str(value))
        return list(found.values())


def play(day: Day, order: random.Random, *, restarts: bool, duplicates: bool, bulk: bool) -> Host:
    """The same facts and payloads in an order of its own."""
    host = Host(day.tree)
    inputs: list[Any] = [*day.facts, *day.batches]
    if duplicates:
        inputs += order.choices(inputs, k=len(inputs) // 2)
    order.shuffle(inputs)
    for given in inputs:
        host.now_ns += 1_000_000
        if isinstance(given, Fact):
            answer = host.enricher.receive_fact(given, host.now_ns)
            assert answer.accepted, answer.reason
        else:
            host.enricher.receive_batch(given, host.now_ns, past_max_ns=None, future_max_ns=None)
        if not bulk or order.random() < 0.2:
            host.commit()
        if restarts and order.random() < 0.2:
            host.commit()
            host.restart()
    host.commit()
    return host


def essence(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.key, r.value, r.quality, r.context) for r in records]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_order_of_arrival_does_not_matter(seed: int):
    day = Day(seed)
    order = random.Random(seed * 7919 + 1)
    first = play(day, order, restarts=False, duplicates=False, bulk=False)
    expected = essence(first.log.records())
    assert expected, "a day without records proves nothing"
    for restarts, duplicates, bulk in ((False, True, True), (True, False, False), (True, True, True)):
        again = play(day, order, restarts=restarts, duplicates=duplicates, bulk=bulk)
        assert essence(again.log.records()) == expected


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_record_has_the_context_that_the_rules_give_it(seed: int):
    day = Day(seed)
    host = play(day, random.Random(seed), restarts=False, duplicates=False, bulk=True)
    steps = day.steps()
    for record in host.log.records():
        assert record.context == oracle.context_at(
            day.tree, day.facts, steps, record.equipment, record.source_time_ns
        ), record


@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_as_known_at_gives_back_what_was_current_then(seed: int):
    day = Day(seed)
    order = random.Random(seed)
    host = Host(day.tree)
    inputs: list[Any] = [*day.facts, *day.batches]
    order.shuffle(inputs)
    then: list[tuple[int, list[Record]]] = []
    for given in inputs:
        host.now_ns += 1_000_000
        if isinstance(given, Fact):
            host.fact(given)
        else:
            host.enricher.receive_batch(given, host.now_ns, past_max_ns=None, future_max_ns=None)
            host.commit()
        then.append((host.now_ns, host.log.records()))
        if order.random() < 0.1:
            host.restart()
    for now_ns, records in then:
        assert host.log.records(as_known_at_ns=now_ns) == records


@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_published_messages_tell_the_whole_story(seed: int):
    """Whoever reads ticks and restatements in log order ends with the records of the log."""
    day = Day(seed)
    host = play(day, random.Random(seed), restarts=True, duplicates=True, bulk=True)
    assert reader_of(host) == {
        (r.equipment, r.metric, r.source_time_ns, r.ordinal): r.context for r in host.log.records()
    }
    counters = host.log.counters
    assert counters["recorded"] == len(host.log.samples)
    assert counters["received_joined"] == counters["recorded"] + counters["duplicates_dropped"]
    assert sum(host.log.by_status().values()) == counters["recorded"]


def reader_of(host: Host) -> dict[tuple[str, str, int, int], Any]:
    import json

    from tests.enrichment.times import parse_ns

    seen: dict[tuple[str, str, int, int], Any] = {}
    last: dict[str, int] = {}
    for message in host.log.outbox:
        if "/_event/" in message.topic:
            continue
        document = json.loads(message.payload)
        equipment, span = document["equipment"], document["log"]
        assert span["after"] == last.get(equipment, 0), "a reader sees no gap where there is none"
        assert span["after"] < span["from"] <= span["to"]
        last[equipment] = span["to"]
        if document["schema"] == "uns1.tick/1":
            assert span["to"] - span["from"] + 1 == len(document["samples"])
            for sample in document["samples"]:
                key = equipment, sample["metric"], parse_ns(sample["time"]), sample.get("ordinal", 0)
                assert key not in seen
                seen[key] = document["context"]
        else:
            lo = None if document["from"] is None else parse_ns(document["from"])
            hi = None if document["to"] is None else parse_ns(document["to"])
            touched = [
                k for k in seen if k[0] == equipment and (lo is None or lo <= k[2]) and (hi is None or k[2] < hi)
            ]
            assert len(touched) == document["samples"] > 0
            for key in touched:
                assert seen[key] == document["old"]
                seen[key] = document["new"]
    return seen


def test_the_tree_after_a_change_says_what_records_need():
    host = Host(plant(requires=("job",)))
    host.fact(fact("job"))
    host.samples((TEMPERATURE, 1.0, 1.0))
    assert host.context(1.0)["status"] == "resolved"
    changed: TopicTree = plant(requires=("job", "shift"))
    changed = type(changed)(**{f: getattr(changed, f) for f in changed.__struct_fields__} | {"contract_hash": "other"})
    host.restart(changed)
    assert host.context(1.0)["missing"] == ["shift"]
    assert host.log.documents("/_res/")[-1]["reason"] == "the topic tree changed"
