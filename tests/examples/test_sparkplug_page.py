"""The loop that docs/reference/sparkplug.md shows carries both sessions, with no event loop in its thread."""

from __future__ import annotations

import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers import mosquitto
from uns.sparkplug import HostSession, HostSessionState
from uns.sparkplug.messages import DataReceived, NodeBorn, NodeDied

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/sparkplug.md"


def of_the_page() -> dict[str, Any]:
    found = dict(
        re.findall(r"^```python (own_\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
    assert list(found) == ["own_loop", "own_edge", "own_codec"]
    names: dict[str, Any] = {}
    for source in found.values():
        exec(compile(source, str(PAGE), "exec"), names)
    return names


def await_online(session: HostSession) -> None:
    deadline = time.monotonic() + 10
    while session.state is not HostSessionState.ONLINE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert session.state is HostSessionState.ONLINE


def test_the_payloads_of_the_page_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    of_the_page()
    assert capsys.readouterr().out == "trend (8, 9) [] {}\n"


@pytest.mark.integration
def test_the_loop_of_the_page_carries_a_host_and_an_edge_node(tmp_path: Path) -> None:
    page = of_the_page()
    seen: list[Any] = []
    host = HostSession("own-host", jitter=random.randrange)

    def follow(session: HostSession, event: Any) -> None:
        seen.append(event)
        if isinstance(event, NodeDied) and event.reason == "ndeath":
            session.close(time.time_ns())

    def carry() -> None:
        page["carry"](host, "127.0.0.1", broker.port, follow)

    with mosquitto(tmp_path) as broker:
        host.connect(time.time_ns())
        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        await_online(host)
        page["publish_once"]("127.0.0.1", broker.port, bd_seq=0)
        thread.join(20)
        assert not thread.is_alive()
    told_of: list[Any] = [one for one in seen if isinstance(one, NodeBorn | DataReceived | NodeDied)]
    born, data, died, *_ = told_of
    assert "level" in [metric.name for metric in born.birth.metrics]
    assert (data.data.bindings[0].name, data.data.values) == ("level", [2.0])
    assert (str(died.edge_node), died.reason) == ("plant/own", "ndeath")


@pytest.mark.integration
def test_the_loop_of_the_page_ends_with_its_broker(tmp_path: Path) -> None:
    page = of_the_page()
    seen: list[Any] = []
    broker = mosquitto(tmp_path)
    session = HostSession("own-host", jitter=random.randrange)
    with broker:
        session.connect(time.time_ns())
        thread = threading.Thread(
            target=lambda: page["carry"](session, "127.0.0.1", broker.port, lambda _s, event: seen.append(event)),
            daemon=True,
        )
        thread.start()
        await_online(session)
    thread.join(20)
    assert (thread.is_alive(), session.state) == (False, HostSessionState.DISCONNECTED)
    session.connect(time.time_ns())
    with pytest.raises(OSError, match="refused"):
        page["carry"](session, "127.0.0.1", broker.port, lambda _s, event: seen.append(event))
    assert session.state is HostSessionState.DISCONNECTED
