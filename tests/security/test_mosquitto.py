"""What docs/reference/acl.md says that mosquitto does."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.secure_plant.make_certificates import Authority
from examples.secure_plant.plant import SecurePlant
from tests.docs.test_documents import ROOT, fences
from tests.servers import require_mosquitto
from uns.adapters.mqtt import MqttConnection
from uns.sparkplug.messages import Message

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs/how-to/secure-the-plant.md"
NODE = "acme.dallas/gw-energy"
TOPIC = "spBv1.0/acme.dallas/NDATA/gw-energy"
ACL = "\nuser observer\ntopic readwrite #\n"
BINDING = "use_username_as_clientid true\n"


def plant_in(directory: Path, *, change_config: Callable[[str], str] = str) -> SecurePlant:
    require_mosquitto()
    return SecurePlant(
        directory,
        further_credentials=("observer",),
        change_acl=lambda acl: acl + ACL,
        change_config=change_config,
    )


def ids(plant: SecurePlant) -> set[str]:
    return set(re.findall(r"connected from \S+ as (\S+) \(", plant.broker_log()))


async def test_a_credential_taken_out_of_the_list_can_do_nothing_after_sighup_even_where_it_is_connected(tmp_path):
    async with plant_in(tmp_path) as plant:
        acl = plant.certificates / "acl"
        observing = MqttConnection(plant.address("observer"), client_id="o")
        async with observing, MqttConnection(plant.address(NODE), client_id="n") as node:
            await observing.subscribe([("#", 0)])

            async def arrives(payload: bytes) -> bool:
                await node.publish_acknowledged(Message(TOPIC, payload, qos=1))
                await observing.publish_acknowledged(Message("fence", payload, qos=1))
                seen: list[tuple[str, bytes]] = []
                while ("fence", payload) not in seen:
                    seen += [(message.topic, message.payload) for message in await observing.next_batch()]
                return (TOPIC, payload) in seen

            assert await arrives(b"before")
            acl.write_text(acl.read_text().replace(f"user {NODE}\n", "user nobody\n"))
            plant.reload_broker()
            async with asyncio.timeout(5):
                number = 0
                while await arrives(b"after %d" % number):
                    number += 1


async def test_a_new_certificate_of_the_broker_is_shown_after_sighup(tmp_path):
    async with plant_in(tmp_path) as plant:
        context = ssl.create_default_context(cafile=plant.certificates / "ca.pem")
        own = plant.address("observer")
        context.load_cert_chain(str(own.cert_file), own.key_file)

        async def shown() -> bytes:
            _, writer = await asyncio.open_connection("localhost", plant.port, ssl=context)
            certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return certificate

        before = await shown()
        now = datetime.now(UTC)
        authority = Authority(plant.certificates, now=now)
        authority.issue("broker", "localhost", now=now, lifetime=timedelta(days=1), server_names=("localhost",))
        plant.reload_broker()
        async with asyncio.timeout(5):
            while await shown() == before:
                await asyncio.sleep(0.05)


async def test_the_client_id_is_the_credential_only_where_the_line_stands_below_the_listener(tmp_path):
    def above(config: str) -> str:
        return BINDING + config.replace(BINDING, "")

    for directory, change, found in (("below", str, {NODE}), ("above", above, {"mine"})):
        async with plant_in(tmp_path / directory, change_config=change) as plant:
            async with MqttConnection(plant.address(NODE), client_id="mine"):
                pass
            assert ids(plant) == found


async def test_a_credential_of_its_own_lets_the_broker_be_checked_behind_the_list(tmp_path: Path) -> None:
    """As docs/how-to/secure-the-plant.md says: two lines; what needs two connections is not probed."""
    require_mosquitto()
    lines = next(text for text in fences(PAGE, "text") if "uns-probe" in text)
    async with SecurePlant(
        tmp_path, further_credentials=["probe"], change_acl=lambda acl: f"{acl}\n{lines}\n"
    ) as plant:
        address = plant.address("probe")
        files = ("--ca-file", address.ca_file, "--cert-file", address.cert_file, "--key-file", address.key_file)
        command = [sys.executable, "-m", "uns", "broker", "check", plant.url, *map(str, files), "--json"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        found = json.loads((await process.communicate())[0])
    assert process.returncode == 0
    verdicts = {probe["probe"]: probe["verdict"] for probe in found["probes"]}
    assert (verdicts["rights"], verdicts["payload"], verdicts["queue"]) == ("ok", "ok", "not_probed")
