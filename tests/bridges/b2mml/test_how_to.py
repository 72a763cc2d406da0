"""docs/how-to/connect-an-mes-by-files.md, step by step: its files run, and what it quotes is what comes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bridges.b2mml.bench import MesBench
from tests.bridges.b2mml.schemas import official_schema, problems
from tests.docs.test_documents import ROOT, fences
from tests.faults.process import until

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs/how-to/connect-an-mes-by-files.md"


async def test_the_steps_do_what_the_page_says(tmp_path: Path) -> None:
    _, bridge = fences(PAGE, "yaml")
    order, quoted = fences(PAGE, "xml")
    report = next(text for text in fences(PAGE, "text") if "taken" in text)
    with MesBench(tmp_path, tree=(ROOT / "topic_tree.yaml").read_text()) as bench:
        (tmp_path / "var").mkdir()
        (tmp_path / "var/host").symlink_to(tmp_path / "host")
        for folder in ("mes/in", "mes/out"):
            (tmp_path / folder).mkdir(parents=True)
        bench.config.write_text(
            bridge.replace("mqtt://127.0.0.1:1883", bench.broker.url)
            .replace("grace: 300s", "grace: 0s")
            .replace("target:\n", "target:\n  poll: 50ms\n  settle: 0s\n")
        )
        bench.inbox, bench.outbox = tmp_path / "mes/in", tmp_path / "mes/out"
        await bench.start_host()
        assert "the bridge can run" in bench.command("bridge", "check", "--config", str(bench.config))
        bench.bridge.start()

        bench.drop(order.encode(), "order.xml")
        await until(bench.archived, "it lies in the archive")
        (fact,) = bench.facts()
        assert (fact.job_order, fact.equipment, fact.state) == ("WO-10234/0010", "reactor4", "dispatched")
        assert list(bench.inbox.rglob("*.report.txt")) == []
        assert problems(official_schema(), order.encode()) == []

        job = re.search(r" *<JobOrder>.*?</JobOrder>\n", order, re.DOTALL)
        assert job is not None
        second = job[0].replace("WO-10234/0010", "WO-10234/0020")
        bad = order.replace(job[0], job[0].replace("WC-4711", "WC-4712") + second).replace("schedule-1", "schedule-2")
        bench.drop(bad.encode(), "bad.xml")
        found = bench.inbox / "quarantine/bad.xml.report.txt"
        await until(lambda: not bench.waiting() and found.exists(), "it lies in quarantine")
        assert found.read_text().split("\n\n", 1)[1].strip() == report.strip()
        assert {fact.job_order for fact in bench.facts()} == {"WO-10234/0010", "WO-10234/0020"}

        await bench.finish("WO-10234/0010", gateway="gw-reaction-1", work_order="WO-10234", operation="0010")
        await until(lambda: list(bench.outbox.glob("*.xml")), "the performance is there")
        (document,) = bench.outbox.glob("*.xml")
        assert problems(official_schema(), document.read_bytes()) == []
        lines = {line.strip() for line in document.read_text().splitlines()}
        assert [line for line in quoted.split("\n") if line and line not in lines] == []
        assert await bench.bridge.terminate() == 0
