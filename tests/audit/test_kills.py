"""A host that is killed at any moment leaves a whole log: each fact with its entry, and no anchor points beyond it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.process import Child, python_module, until
from tests.runtime.plants import TREE_TEXT
from tests.servers import mosquitto
from uns.adapters.mqtt import BrokerAddress
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.audit.chain import Anchor
from uns.context.facts import Fact
from uns.errors import UnreachableError
from uns.namespace.loader import load_tree
from uns.runtime.audit_check import retained_anchor, verify_store
from uns.runtime.fact_sender import FactSender

pytestmark = pytest.mark.integration

BEGAN = datetime(2026, 6, 3, tzinfo=UTC)


class Teller:
    """States one fact after the other, and knows which were answered."""

    def __init__(self, address: BrokerAddress, tree: Path) -> None:
        self._address, self._tree = address, load_tree(tree)
        self.answered: set[str] = set()
        self._next = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(UnreachableError):
                async with FactSender(self._address, self._tree, client_id="mes") as sender:
                    while True:
                        begin = BEGAN + timedelta(seconds=self._next)
                        fact = Fact(
                            id=f"mes:{self._next}", kind="job", equipment="reactor4", source="mes", source_rev="1",
                            valid_from=begin, valid_to=begin + timedelta(seconds=1), job_order=f"WO-{self._next}/10",
                            work_order=f"WO-{self._next}",
                        )  # fmt: skip
                        answer = await sender.tell(fact)
                        assert answer.accepted, answer.reason
                        self.answered.add(fact.id)
                        self._next += 1


async def killed(directory: Path, kills: int) -> None:
    rng = random.Random(kills)
    tree = directory / "topic_tree.yaml"
    tree.write_text(TREE_TEXT)
    store, sockets = directory / "host", Path(tempfile.mkdtemp(prefix="uns-"))
    with mosquitto(directory) as broker:
        address = BrokerAddress(url=broker.url)
        command = python_module(
            "uns", "host", "run", "--tree", str(tree), "--broker", broker.url, "--store", str(store),
            "--api", f"unix:{sockets / 'host.sock'}", "--log-json",
        )  # fmt: skip
        host = Child("host", command, log=directory / "host.log")
        teller = Teller(address, tree)
        telling = asyncio.create_task(teller.run())
        anchors: list[Anchor] = []
        try:
            for _ in range(kills):
                host.start()
                known = len(teller.answered)
                await until(lambda known=known: len(teller.answered) > known, "facts are answered again")  # type: ignore[misc]
                await asyncio.sleep(rng.uniform(0.0, 2.5))
                host.kill()
                found = await retained_anchor(address, "uns-host-1")
                anchors += [] if found.anchor is None else [found.anchor]
                judged = verify_store(store / "records.db", anchors=anchors)
                assert judged.ok, judged.findings
                with AuditReader(store / "records.db") as reader:
                    stated = [entry.subject for entry in reader.find(AuditQuery(action="fact.accepted"))]
                    assert reader.snapshot().facts == len(stated) == len(set(stated))
                assert {f"mes/{fact_id}@1" for fact_id in teller.answered} <= set(stated)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            host.kill()
        with AuditReader(store / "records.db") as reader:
            ends = [entry.action for entry in reader.find(AuditQuery(action="component."))]
        assert ends == ["component.started", *(["component.stopped_unclean", "component.started"] * (kills - 1))]
        assert anchors, "an anchor was shown between two kills"


async def test_a_few_kills(tmp_path: Path):
    await killed(tmp_path, 3)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_fifty_kills(tmp_path: Path):
    await killed(tmp_path, 50)
