"""A source whose clock stands still: everything it sends has one time, and the rule for keys stays what it is."""

from __future__ import annotations

import random
import sys
from types import FrameType
from typing import Any

import msgspec
import pytest

from tests.enrichment.builders import COUNT, TEMPERATURE, TEMPERATURES, Host, at, batch
from tests.enrichment.memory_log import MemoryLog
from uns.enrichment import identity
from uns.enrichment.samples import Content, StoredSample
from uns.sparkplug.datatypes import DataType

OTHER = msgspec.structs.replace(TEMPERATURE, datatype=DataType.DOUBLE)


class CountingLog(MemoryLog):
    """Counts the rows that look-ups read."""

    read = 0

    def at(self, *key: Any, **page: Any) -> list[StoredSample]:
        found = super().at(*key, **page)
        self.read += len(found)
        return found

    def holds(self, *key: Any, first: int, below: int) -> bool:
        self.read += 1
        return super().holds(*key, first=first, below=below)


class Place:
    """The rule, in so many words: from a start up to the first that is equal or free."""

    def __init__(self) -> None:
        self.samples: dict[int, tuple[Any, int]] = {}

    def put(self, start: int, value: Any, code: int = 0) -> None:
        while start in self.samples and self.samples[start] != (value, code):
            start += 1
        self.samples[start] = value, code


def frozen(host: Host, numbers: Any, *, explicit: bool = False, second: int = 1) -> None:
    for n in numbers:
        sample = (TEMPERATURE, float(n), second, 0, n if explicit else None)
        host.enricher.receive_batch(batch(sample), host.now_ns, past_max_ns=None, future_max_ns=None)
        if n % 50 == 0:
            host.commit()
    host.commit()


def effort(host: Host, numbers: range, **how: Any) -> int:
    """Python calls inside the identity of samples, and rows read for it."""
    log = host.log
    assert isinstance(log, CountingLog)
    calls, before = 0, log.read

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.endswith(("identity.py", "moments.py")):
            calls += 1

    sys.setprofile(look)
    try:
        frozen(host, numbers, **how)
    finally:
        sys.setprofile(None)
    return calls + log.read - before


def counting_host() -> Host:
    host = Host()
    host.log = CountingLog()
    host.restart()
    return host


@pytest.mark.parametrize("samples_max", [2_000, 100])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("explicit", [False, True])
def test_the_last_of_many_samples_at_one_time_costs_what_the_first_did(
    monkeypatch: pytest.MonkeyPatch, samples_max: int, old: bool, explicit: bool
):
    monkeypatch.setattr(identity, "MOMENT_SAMPLES_MAX", samples_max, raising=False)
    host = counting_host()
    if old:
        host.samples((TEMPERATURE, 0.0, 5))
    frozen(host, range(300), explicit=explicit)
    early = effort(host, range(300, 400), explicit=explicit)
    frozen(host, range(400, 900), explicit=explicit)
    late = effort(host, range(900, 1_000), explicit=explicit)
    assert late < early * 1.5, (early, late)
    assert late < 100 * 60
    again = effort(host, range(900, 1_000), explicit=explicit)
    assert again < 100 * 60
    counters = host.log.counters
    assert (counters["recorded"], counters["duplicates_dropped"]) == (1_000 + old, 100)


def test_what_is_in_memory_of_a_newest_time_is_bounded_and_its_leaving_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(identity, "MOMENT_SAMPLES_MAX", 50)
    monkeypatch.setattr(identity, "MOMENTS_MAX", 3)
    host = Host()
    frozen(host, range(60))
    assert host.log.counters["newest_times_spilled"] == 1
    for contract in TEMPERATURES[:5]:
        for n in range(20):
            host.samples((contract, float(n), 9))
    assert host.log.counters["newest_times_spilled"] == 3
    for contract in TEMPERATURES[:5]:
        for n in range(20):
            host.samples((contract, float(n), 9))
    assert host.log.counters["duplicates_dropped"] == 100
    assert host.log.counters["recorded"] == 160


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_at_few_times_gives_the_keys_that_the_rule_gives(monkeypatch: pytest.MonkeyPatch, seed: int):
    random_ = random.Random(seed)
    monkeypatch.setattr(identity, "MOMENT_SAMPLES_MAX", random_.choice((9, 20, 1000)))
    monkeypatch.setattr(identity, "MOMENTS_MAX", random_.choice((1, 2, 100)))
    monkeypatch.setattr(identity, "RUNS_MAX", random_.choice((1, 2, 100)))
    monkeypatch.setattr(identity, "_PAGE", random_.choice((1, 2, 16)))
    monkeypatch.setattr(identity, "_PAGE_MAX", 16)
    host = Host()
    expected: dict[tuple[str, int], Place] = {}
    retypes = seed % 4 == 0
    values = random_.choice((3, 30, 300))
    for _ in range(150):
        samples = []
        for _ in range(random_.randint(1, 5)):
            contract = random_.choice((TEMPERATURE, TEMPERATURE, COUNT))
            if retypes and contract is TEMPERATURE and random_.random() < 0.2:
                contract = OTHER
            ordinal = random_.choice((None, None, 0, 1, random_.randint(0, 60)))
            second = random_.choice((1, 1, 1, 2, 3, random_.randint(0, 9)))
            samples.append((contract, float(random_.randint(0, values)), second, 0, ordinal))
        codes = [random_.choice((0, 0, 5)) for _ in samples]
        places: dict[tuple[str, int], int] = {}
        for (contract, value, second, _, ordinal), code in zip(samples, codes, strict=True):
            key = contract.name, at(second)
            place = places.get(key, 0)
            places[key] = place + 1
            expected.setdefault(key, Place()).put(place if ordinal is None else ordinal, value, code)
        host.enricher.receive_batch(
            batch(*samples, status_codes=codes), host.now_ns, past_max_ns=None, future_max_ns=None
        )
        if random_.random() < 0.3:
            host.commit()
        if random_.random() < 0.03:
            host.commit()
            host.restart()
    host.commit()
    found: dict[tuple[str, int], dict[int, Any]] = {}
    for (_, metric, time_ns), rows in host.log.by_key.items():
        found[metric, time_ns] = {o: (host.log._value(row), row[8]) for o, row in rows.items()}
    assert found == {key: place.samples for key, place in expected.items()}


def test_a_content_is_told_by_its_value_columns_quality_and_status():
    host = Host()
    host.samples((TEMPERATURE, 1.0, 1), (TEMPERATURE, 2.0, 1))
    content: Content = (2.0, None, None, 0, 0)
    where = "reactor4", "temperature", at(1)
    assert host.log.holds(*where, content, first=0, below=2)
    assert not host.log.holds(*where, content, first=0, below=1)
