"""An ACL that silently denies DDATA: births, marks and confirmations pass, so only counts can tell."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.plant import Options, edge_terms, plant
from tests.faults.process import until

pytestmark = pytest.mark.integration

OPEN = "topic readwrite #\n"
DENIED = "topic deny spBv1.0/+/DDATA/#\ntopic readwrite #\n"
SAID = "DATA does not arrive: check the broker's ACL"


async def test_denied_data_stays_in_the_store_is_told_and_arrives_once_the_acl_is_mended(tmp_path):
    async with plant(tmp_path, Options(broker_acl=DENIED), started=False) as made:
        made.plc.start()
        made.host.start()
        await until(lambda: made.oracle().tags, "the PLC serves", deadline_s=30)
        made.edge.start()
        await until(lambda: made.edge_stats().get("stored", 0) > 0, "first values are stored", deadline_s=40)
        made.count()
        await until(lambda: SAID in made.edge.output, "the edge says what is wrong", deadline_s=40)
        await until(lambda: SAID in made.edge_stats()["health"], "its health says so too")
        denied = edge_terms(made.edge_stats())
        assert denied["confirmed"] == 0
        assert denied["waiting"] == denied["stored"] > 0

        (made.broker.directory / "acl").write_text(OPEN)
        assert made.broker.process is not None
        os.kill(made.broker.process.pid, signal.SIGHUP)
        await made.until_recorded_since(time.time_ns() // 1_000_000, deadline_s=60)
        await made.drain()
        account = await made.account()
        assert account.faults(edge_lived=True) == []
        assert made.edge_stats()["health"] == ""
