"""`uns broker check` at real brokers: mosquitto is fit, and what the embedded one cannot do comes out as such."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.servers import free_port, mosquitto
from uns.adapters.broker_address import BrokerAddress
from uns.adapters.mqtt import MqttConnection
from uns.runtime.broker_check import needs, standard
from uns.runtime.broker_check.check import check_broker
from uns.runtime.broker_check.needs import NEEDS
from uns.runtime.broker_check.probing import CheckReport, Probing
from uns.runtime.broker_check.standard import STANDARD_PROBES

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NODE = ("acme.dallas", "gw-1")


def verdicts(report: CheckReport) -> dict[str, str]:
    return {found.probe: found.verdict for found in report.probes}


def seen(report: CheckReport, probe: str) -> str:
    return next(found.seen for found in report.probes if found.probe == probe)


async def run_need(url: str, name: str, *, node: tuple[str, str] | None = None, five: bool = False) -> tuple[str, str]:
    probing = Probing(BrokerAddress(url=url), token="abcdef", node=node)
    probing.speaks_5 = five
    return await next(probe for probe in NEEDS if probe.name == name).run(probing)


async def test_mosquitto_is_fit_and_left_clean(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        code, out, _err = await uns("broker", "check", broker.url, "--json")
        report = msgspec.json.decode(out, type=CheckReport)
        async with MqttConnection(BrokerAddress(url=broker.url), client_id="after") as after:
            await after.subscribe([("uns-probe/#", 0)])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await after.next_batch()
    found = verdicts(report)
    assert found.pop("retained_after_restart") == found.pop("node_rights") == "not_probed"
    assert set(found.values()) == {"ok"}, report
    assert (code, report.verdict, report.broker, len(report.probes)) == (0, "ok", broker.url, 15)
    assert report.mqtt_5["receive_maximum"] > 0  # type: ignore[operator]


@pytest.mark.parametrize(("settings", "verdict"), [((), "warns"), (("persistence true",), "ok")])
async def test_retained_messages_over_a_restart(tmp_path: Path, settings: tuple[str, ...], verdict: str) -> None:
    where = (f"persistence_location {tmp_path}/",) if settings else ()
    with mosquitto(tmp_path, settings=(*settings, *where)) as broker:

        async def restart() -> None:
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)

        probing = Probing(BrokerAddress(url=broker.url), token="abcdef", restart=restart)
        probe = next(probe for probe in STANDARD_PROBES if probe.name == "retained_after_restart")
        assert (await probe.run(probing))[0] == verdict


async def test_what_the_embedded_broker_cannot_do_comes_out() -> None:
    code, out, err = await uns("broker", "check", "--kind", "embedded", "--json")
    report = msgspec.json.decode(out, type=CheckReport)
    found = verdicts(report)
    assert {probe for probe, verdict in found.items() if verdict == "fails"} == {
        "takeover",
        "keep_alive",
        "retained_leak",
    }
    assert {probe for probe, verdict in found.items() if verdict == "warns"} == {
        "mqtt_5",
        "share",
        "qos",
        "retained_after_restart",
    }
    assert seen(report, "share") == "granted, and nothing is ever delivered"
    assert seen(report, "qos") == "QoS 0 is delivered at QoS 1, QoS 1 at QoS 1"
    assert (report.verdict, found["will"], found["spaces"], found["state"]) == ("fails", "ok", "ok", "ok")
    assert code == 1
    assert "topics are uns-probe/" in err


async def test_a_small_queue_is_found(tmp_path: Path) -> None:
    """The default of mosquitto drops toward whoever is slow."""
    with mosquitto(tmp_path, settings=("max_queued_messages 100",)) as broker:
        verdict, text = await run_need(broker.url, "queue")
    assert verdict == "warns"
    assert "of 5,000 messages reached" in text


async def test_a_small_packet_size_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "ARRIVAL_S", 1.0)
    with mosquitto(tmp_path, settings=("message_size_limit 300000",)) as broker:
        assert (await run_need(broker.url, "payload"))[0] == "warns"
    (tmp_path / "2").mkdir()
    with mosquitto(tmp_path / "2", settings=("message_size_limit 100000",)) as broker:
        assert (await run_need(broker.url, "payload"))[0] == "fails"


ALL = "topic readwrite #\n"


@pytest.mark.parametrize(
    ("acl", "verdict", "words"),
    [
        (ALL, "ok", "3 topics of acme.dallas/gw-1"),
        ("topic deny spBv1.0/+/NDATA/#\n" + ALL, "fails", "write spBv1.0/acme.dallas/NDATA/gw-1"),
        ("topic deny uns1/_mark/#\n" + ALL, "fails", "write uns1/_mark/acme.dallas/gw-1"),
    ],
)
async def test_a_denied_topic_of_a_gateway_is_named(tmp_path: Path, acl: str, verdict: str, words: str) -> None:
    with mosquitto(tmp_path, acl=acl) as broker:
        found, text = await run_need(broker.url, "node_rights", node=NODE, five=True)
    assert (found, words in text) == (verdict, True), text


async def test_a_gateway_that_may_only_write_is_right_over_mqtt_5_and_unknown_over_3_1_1(tmp_path: Path) -> None:
    """The list that `uns tree render acl` prints lets no gateway read what it writes."""
    acl = "topic write spBv1.0/acme.dallas/+/gw-1\ntopic write uns1/_mark/#\ntopic read spBv1.0/STATE/+\n"
    with mosquitto(tmp_path, acl=acl) as broker:
        five = await run_need(broker.url, "node_rights", node=NODE, five=True)
        three = await run_need(broker.url, "node_rights", node=NODE)
    assert five[0] == "ok", five
    assert three[0] == "warns"
    assert "tells it nothing" in three[1]


@pytest.mark.parametrize(
    ("acl", "words"),
    [
        ("topic read #\n", "denied silently, to write (MQTT 5 says so: reason code 135)"),
        ("topic write #\n", "denied silently, to write or to read"),
    ],
)
async def test_what_an_access_list_denies_is_told_as_well_as_the_broker_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acl: str, words: str
) -> None:
    monkeypatch.setattr(needs, "ARRIVAL_S", 1.0)
    with mosquitto(tmp_path, acl=acl) as broker:
        report = await check_broker(BrokerAddress(url=broker.url))
    assert words in seen(report, "rights")
    found = verdicts(report)
    assert (found["rights"], found["mqtt_5"], found["will"]) == ("fails", "ok", "not_probed")
    assert seen(report, "mqtt_5").startswith("accepted; ")


def test_a_silent_peer_is_waited_for_until_mosquitto_looks() -> None:
    """It looks every five seconds: 8.4 s were measured, where a wait of 8 s made it fail now and then."""
    assert standard.KEEP_ALIVE_WAIT_S >= 1.5 * standard.KEEP_ALIVE_S + 2 * 5


async def test_where_the_credential_is_the_client_id_the_rest_is_still_probed(tmp_path: Path) -> None:
    listener = ("use_username_as_clientid true",)
    with mosquitto(tmp_path, listener=listener) as broker:
        report = await check_broker(BrokerAddress(url=broker.url, username="gw"))
    found = verdicts(report)
    assert found["takeover"] == found["will"] == "not_probed"
    assert "takes the client id from the credential" in seen(report, "will")
    assert found["rights"] == found["spaces"] == found["payload"] == "ok"


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def uns(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uns", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_speaks_to_people(tmp_path: Path) -> None:
    with mosquitto(tmp_path, acl="topic deny uns-probe/#\n" + ALL) as broker:
        code, out, _err = await uns("broker", "check", broker.url)
    assert code == 1
    assert "FAILS  rights of this user on the probe topics: PUBACK came, the message did not" in out
    assert "next:  allow this user `topic readwrite uns-probe/#`" in out
    assert "-      Will when a connection is cut: what this user writes under uns-probe/ does not arrive" in out


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def hangs_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("behaviour", [None, silent, hangs_up, nonsense])
async def test_what_is_no_broker_is_exit_code_3(behaviour: Callable[..., object] | None) -> None:
    if behaviour is None:
        code, _out, err = await uns("broker", "check", f"mqtt://127.0.0.1:{free_port()}")
    else:
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        code, _out, err = await uns("broker", "check", f"mqtt://127.0.0.1:{port}")
        server.close()
    assert code == 3, err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("mqtt://x", "--kind", "embedded"),
        ("--kind", "kafka"),
        ("mqtt://x", "--as", "gw-1"),
        ("mqtt://x", "--as", "a/b/c"),
        ("mqtt://u:p@x",),
        ("--kind", "embedded", "--as", "a/b"),
    ],
)
async def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    code, _out, err = await uns("broker", "check", *arguments)
    assert code == 2, err


async def test_broker_alone_still_runs_one() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uns", "broker", "--port", "0"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = (await process.stdout.readline()).decode()
        url = line.split()[2].rstrip(";")
        async with MqttConnection(BrokerAddress(url=url), client_id="there"):
            pass
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert line.startswith("broker at mqtt://127.0.0.1:")
