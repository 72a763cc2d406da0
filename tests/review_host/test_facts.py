"""What comes as a fact is bounded, belongs to its topic, and never stops the facts behind it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.review_host.stages import Stages, stages
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress, IncomingMessage
from uns.runtime.host.fact_intake import FACT_BYTES_MAX, FactIntake

TOPIC = "uns1/acme/dallas/_fact/mes/job"
TWO_SITES = """\
uns: 1
enterprise: acme
classes:
  Mill: {metrics: {speed: {type: Float}}}
sites:
  dallas: {time_zone: America/Chicago, equipment: {mill1: {level: Unit, class: Mill, gateways: [gw-1]}}}
  austin: {time_zone: America/Chicago, equipment: {mill2: {level: Unit, class: Mill, gateways: [gw-2]}}}
context:
  mes: {provides: [job], precedence: 10}
"""


def fact(**fields: Any) -> bytes:
    values = {"id": "mes:1", "kind": "job", "equipment": "reactor4", "source": "mes", "source_rev": "1"}
    values |= {"job_order": "WO-1/10", "valid_from": "2026-06-03T19:02:11Z"}
    return json.dumps(values | fields).encode()


class Intake:
    """Facts into the stages of a host, as if they had come over MQTT."""

    def __init__(self, host: Stages) -> None:
        self.host = host
        self.intake = FactIntake(
            BrokerAddress(url="mqtt://127.0.0.1:1"),
            host.tree,
            client_id="facts",
            joiner=host.joiner,
            output=host.output,
            log=get_logger("facts"),
            dead_letter=lambda _topic, _reason, _payload: True,
        )

    async def tell(self, payload: bytes, topic: str = TOPIC) -> dict[str, Any]:
        """The answer to one fact; it must come, or the broker would send the fact again at each start."""
        self.host.published.clear()
        self.host.output._notices.clear()
        await asyncio.wait_for(self.intake._take(IncomingMessage(topic, payload, 1)), 10)
        answers = [m for m in (*self.host.published, *self.host.output._notices) if "/_fact_result/" in m.topic]
        assert len(answers) == 1
        answer: dict[str, Any] = json.loads(answers[0].payload)
        return answer


@pytest.mark.parametrize(
    "payload",
    [
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"id":"x","pad":"' + b"x" * FACT_BYTES_MAX + b'"}',
        fact(valid_from="0001-01-01T00:00:00+14:00"),
        fact(valid_from="9999-12-31T23:59:59-14:00"),
        fact(id="\ud800"),
        fact(reason="\ud800"),
        fact(source="scanner"),
        fact(kind="lot", lot="L"),
        fact(job_order=""),
    ],
)
async def test_a_fact_that_cannot_be_taken_is_refused_and_the_next_is_taken(tmp_path: Path, payload: bytes):
    async with stages(tmp_path) as host:
        intake = Intake(host)
        assert not (await intake.tell(payload))["accepted"]
        assert (await intake.tell(fact()))["accepted"]
        await host.idle()


async def test_extreme_texts_are_kept_as_they_are(tmp_path: Path):
    async with stages(tmp_path) as host:
        intake = Intake(host)
        odd = fact(source_rev="9" * 256, job_order="ä\u2028\U0001f600" * 50, reason="r\0" * 500)
        assert (await intake.tell(odd))["accepted"]
        assert (await intake.tell(odd))["rev"] == 1
        await host.idle()


async def test_a_fact_speaks_of_its_own_site(tmp_path: Path):
    async with stages(tmp_path, tree_text=TWO_SITES) as host:
        intake = Intake(host)
        assert (await intake.tell(fact(equipment="mill1")))["accepted"]
        answer = await intake.tell(fact(id="mes:2", equipment="mill2"))
        assert not answer["accepted"]
        assert "austin" in answer["reason"]
        assert (await intake.tell(fact(id="mes:2", equipment="mill2"), TOPIC.replace("dallas", "austin")))["accepted"]
