"""Promise 3 in SQL: what ``records`` showed at a time, ``records_all_revisions`` shows for that time ever after."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.enrichment.builders import fact
from tests.review_host.stages import Node, now_ms, stages
from uns.context.facts import Fact

COLUMNS = "equipment, metric, source_time_ns, ordinal, value_num, value_text, status, context, rev"


def at_ms(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


async def test_what_was_shown_at_any_time_can_be_asked_for_later(tmp_path: Path):
    rng = random.Random(7)
    seen: list[tuple[int, Sequence[tuple[Any, ...]]]] = []
    start = now_ms() - 100_000
    for _ in range(2):  # two lives
        async with stages(tmp_path) as host:
            node = Node(host.tree)
            await host.receive(*node.births())
            for step in range(12):
                when = start + rng.randrange(100) * 500
                if rng.random() < 0.5:
                    phase = ("batch/phase", rng.choice("AB"), when)
                    await host.receive(node.data(("temperature", float(step), when), phase), node.mark())
                else:
                    stated = fact(id=f"mes:{rng.randrange(3)}", source_rev=str(len(seen)), job_order=f"WO-{step}/1")
                    times = {"valid_from": at_ms(when), "valid_to": at_ms(when + 20_000)}
                    stated = msgspec.convert(msgspec.to_builtins(stated) | times, Fact)
                    await host.joiner.submit(stated, source_of_topic="mes", answer_topic="t")
                await host.idle()
                seen.append((time.time_ns(), host.query(f"SELECT {COLUMNS} FROM records ORDER BY position")))
                for known_ns, shown in seen:
                    sql = f"SELECT {COLUMNS} FROM records_all_revisions WHERE known_from_ns <= {known_ns} "
                    assert host.query(f"{sql} AND known_to_ns > {known_ns} ORDER BY position") == shown
    assert len(seen[-1][1]) > 10
    assert any(row[-1] > 0 for row in seen[-1][1])
