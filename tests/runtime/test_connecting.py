"""What a host without its broker tells: the cause and what to do at once, the same again once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.runtime.plants import plant
from tests.servers import eventually, free_port, mosquitto
from uns.adapters.logs import Logger
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.mqtt.hints import next_step
from uns.errors import UnreachableError
from uns.runtime.backoff import STEADY_S
from uns.runtime.host import connecting
from uns.runtime.host.connecting import REPEAT_S, ConnectionLog


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = info


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 1000.0

        def monotonic(self) -> float:
            return self.now_s

    made = Clock()
    monkeypatch.setattr(connecting, "time", made)
    return made


class Timers(list[Callable[[], None]]):
    """What is to be called later."""

    def later(self, delay_s: float, call: Callable[[], None]) -> Timers:
        assert delay_s == STEADY_S
        self.append(call)
        return self

    def cancel(self) -> None:
        self.clear()


def made(timers: Timers | None = None) -> tuple[Log, ConnectionLog]:
    log = Log()
    timers = Timers() if timers is None else timers
    return log, ConnectionLog(cast("Logger", log), client_id="host:h", broker="mqtt://b", call_later=timers.later)


def test_the_same_trouble_is_told_once_a_minute_with_the_attempts(clock):
    log, said = made()
    for _ in range(100):
        said.failed(UnreachableError("gone"), wait_s=1)
        clock.now_s += REPEAT_S / 50
    assert [fields["attempts"] for _, fields in log.lines] == [1, 51]


def test_another_trouble_is_told_at_once(clock):
    log, said = made()
    said.failed(UnreachableError("gone"), wait_s=1)
    said.failed(UnreachableError("refused"), wait_s=1)
    assert [fields["error"] for _, fields in log.lines] == ["gone", "refused"]


def test_the_loss_of_a_connection_that_lasted_is_told_at_once(clock):
    log, said = made()
    for _ in range(3):
        said.works()
        clock.now_s += 30
        said.failed(UnreachableError("gone"), wait_s=1)
    assert [event for event, _ in log.lines] == ["connected", "no broker, trying again"] * 3
    assert all("next_step" not in fields for _, fields in log.lines)


def test_connections_that_end_again_and_again_are_told_as_a_second_client_and_then_seldom(clock):
    log, said = made()
    for _ in range(10):
        said.works()
        clock.now_s += 1
        said.failed(UnreachableError("gone"), wait_s=1)
    warnings = [fields for event, fields in log.lines if event != "connected"]
    assert ["next_step" in fields for fields in warnings] == [False, True]
    assert "'host:h'" in warnings[1]["next_step"]
    assert len(log.lines) == 4


def test_the_end_of_the_trouble_is_told_when_a_connection_lasts(clock):
    timers = Timers()
    log, said = made(timers)
    for _ in range(5):
        said.works()
        clock.now_s += 1
        said.failed(UnreachableError("gone"), wait_s=1)
        assert not timers
    said.works()
    assert log.lines[-1][0] == "no broker, trying again"
    (lasts,) = timers
    clock.now_s += STEADY_S
    lasts()
    assert log.lines[-1] == ("connected", {"broker": "mqtt://b"})
    clock.now_s += 60
    said.failed(UnreachableError("gone"), wait_s=1)
    assert log.lines.pop()[1]["attempts"] == 1


@pytest.mark.parametrize(
    ("reason", "url", "hint"),
    [
        ("[Errno 111] Connection refused", "mqtt://b", "nothing listens there"),
        ("[Errno 111] Connect call failed ('127.0.0.1', 1)", "mqtt://b", "nothing listens there"),
        ("[Errno -2] Name or service not known", "mqtt://b", "name resolution"),
        ("timed out", "mqtt://b", "firewalls"),
        ("[code:135] Not authorized", "mqtt://b", "user 'anna'"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "mqtts://b", "CA file"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "mqtts://b", "this client's certificate"),
        ("the broker ended the connection before it answered: Protocol error", "mqtt://b", "write mqtts://"),
        ("the broker ended the connection before it answered: reset by peer", "mqtts://b", "this client's certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "mqtts://b", "write mqtt://"),
        ("[code:132] Unsupported protocol version", "mqtt://b", "3.1.1: use 5"),
        ("something else", "mqtt://b", "its log tells more"),
    ],
)
def test_the_next_step_fits_the_cause(reason: str, url: str, hint: str):
    assert hint in next_step(reason, BrokerAddress(url=url, username="anna"))


async def test_a_broker_that_is_not_there_says_what_to_check():
    with pytest.raises(UnreachableError, match="nothing listens there"):
        await MqttConnection(BrokerAddress(url=f"mqtt://127.0.0.1:{free_port()}"), client_id="x").__aenter__()


@pytest.mark.integration
async def test_two_hosts_of_one_id_name_the_cause(tmp_path: Path, capsys):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            address = BrokerAddress(url=broker.url)
            for _ in range(2):
                await eventually(lambda: made.host and made.host.connected, what="the host is connected")
                async with MqttConnection(address, client_id="host:uns-host-1"):
                    await eventually(lambda: made.host and not made.host.connected, what="the host is thrown out")
    assert "another client may connect as 'host:uns-host-1'" in capsys.readouterr().out


async def test_a_host_whose_broker_never_answers_stops_within_seconds(tmp_path: Path):
    served: set[asyncio.StreamWriter] = set()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(writer)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.discard(writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with plant(tmp_path, url) as made:
            starting = asyncio.create_task(made.start_host())
            await eventually((tmp_path / "host" / "raw.db").exists, what="the store is open")
            await eventually(lambda: made.host is not None and made.host.connected is False)
            starting.cancel()
            async with asyncio.timeout(5):
                await made.stop_host()
        await eventually(lambda: not served, what="the listener has seen all connections end")
