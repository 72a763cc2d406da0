"""The plant under attack: who attacks how, and who judges it.

A publisher of MQTT 3.1.1 is told nothing when it is denied (it gets a normal PUBACK), so an attempt is judged by an
observer who may read everything, by the broker's log where a client id is taken, and by what host and gateway say of
themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from examples.secure_plant.make_certificates import Authority, make_certificates
from examples.secure_plant.plant import HOST_ID, SecurePlant
from tests.security.attempts import EXPIRED, FOREIGN, FUTURE, STANDBY, UNKNOWN, Attempt, Login, Victim
from tests.servers import free_port, require_mosquitto
from uns.adapters.http import get_json
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.errors import ConnectionLost, UnreachableError
from uns.sparkplug.messages import Message

__all__ = ["GATEWAY", "Attacked", "attacked"]

GATEWAY = "gw-reaction-1"
FENCE = "fence"
ANSWER_S = 5.0
OBSERVER_ACL = f"\nuser observer\ntopic read #\ntopic readwrite {FENCE}\n"
GUARDS = ("require_certificate", "use_identity_as_username", "use_username_as_clientid", "acl_file", "allow_anonymous")


class Observer:
    """Sees every message there is, in the broker's order; :meth:`fence` returns when all before it was seen."""

    def __init__(self, address: BrokerAddress) -> None:
        self._connection = MqttConnection(address, client_id="observer")
        self._task: asyncio.Task[None] | None = None
        self._fences: dict[bytes, asyncio.Future[None]] = {}
        self.seen: Counter[tuple[str, bytes]] = Counter()

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        await self._connection.subscribe([("#", 1)])
        self._task = asyncio.create_task(self._run(), name="observer")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionLost):
            await self._task
        await self._connection.disconnect()

    async def _run(self) -> None:
        while True:
            for message in await self._connection.next_batch():
                if message.topic == FENCE:
                    self._fences.pop(message.payload).set_result(None)
                else:
                    self.seen[message.topic, message.payload] += 1

    async def fence(self) -> None:
        """mosquitto is one thread: what it took before this message, it queued for us before this message."""
        payload = uuid4().bytes
        seen = self._fences[payload] = asyncio.get_running_loop().create_future()
        self._connection.publish_many([Message(FENCE, payload, qos=1)])
        async with asyncio.timeout(ANSWER_S):
            await seen

    def count(self, part: str) -> int:
        """How many messages had this in their topic."""
        return sum(count for (topic, _), count in self.seen.items() if part in topic)


class Attacked:
    """Made by :func:`attacked`: host and one gateway run, the observer watches."""

    def __init__(self, plant: SecurePlant, observer: Observer, plain_url: str) -> None:
        self.plant = plant
        self.observer = observer
        self._plain_url = plain_url

    # -- attacking -----------------------------------------------------------------------------------------------

    def address(self, login: Login) -> BrokerAddress:
        if login.plain:
            return BrokerAddress(url=self._plain_url)
        if login.credential is None:
            address = BrokerAddress(url=self.plant.url, ca_file=str(self.plant.certificates / "ca.pem"))
        else:
            directory = self.plant.directory / login.authority if login.authority else None
            address = self.plant.address(login.credential, directory=directory)
        return BrokerAddress(
            url=address.url,
            ca_file=address.ca_file,
            cert_file=address.cert_file,
            key_file=address.key_file,
            username=login.username,
        )

    async def is_accepted(self, attempt: Attempt, victim: Victim) -> bool:
        """Try it; whether the broker let it through."""
        message = Message(attempt.topic, attempt.payload(victim), qos=1, retain=attempt.retain)
        key = message.topic, message.payload
        seen_before, taken_before = self.observer.seen[key], self.times_taken(attempt.client_id)
        with contextlib.suppress(UnreachableError, ConnectionLost):
            await self._do(attempt, message)
        await self.observer.fence()
        if attempt.do == "take":
            return self.times_taken(attempt.client_id) > taken_before
        return self.observer.seen[key] > seen_before

    async def _do(self, attempt: Attempt, message: Message) -> None:
        address = self.address(attempt.login)
        client_id = attempt.client_id or f"attacker-{uuid4().hex[:8]}"
        if attempt.do != "will":
            async with MqttConnection(address, client_id=client_id) as connection:
                if attempt.do == "publish":
                    async with asyncio.timeout(ANSWER_S):
                        await connection.publish_acknowledged(message)
            return
        async with MqttConnection(address, client_id=client_id, will=message) as connection:
            connection.abort()
        # The broker has ended the cut connection, Will and all, when it lets the same client in again.
        async with MqttConnection(address, client_id=client_id):
            pass

    def times_taken(self, client_id: str) -> int:
        """How often the broker let somebody in under this id."""
        return len(re.findall(rf"connected from \S+ as {re.escape(client_id)} \(", self.plant.broker_log()))

    # -- judging -------------------------------------------------------------------------------------------------

    async def victim(self) -> Victim:
        node = next(n for n in (await self.plant.run.host_status())["edge_nodes"] if n["edge_node_id"] == GATEWAY)
        return Victim(node["session"], node["bd_seq"])

    async def host_state(self) -> dict[str, Any]:
        """All of the host that only somebody else's doing can change while the plant runs undisturbed."""
        status = await self.plant.run.host_status()
        activity = status["activity"]
        kept = ["facts_received", "facts_unreadable", "dead_letters", "violations", "sparkplug_violations"]
        kept += ["sparkplug_warnings", "unread", "output_connects", "marks_refused"]
        node_kept = ("group_id", "edge_node_id", "online", "session", "bd_seq", "devices", "rejected", "unmapped")
        return {
            "edge_nodes": [{key: node[key] for key in node_kept} for node in status["edge_nodes"]],
            "foreign": status["foreign"],
            "links": [status[key] for key in ("connected", "output_connected", "facts_connected")],
            "facts": len((await get_json(self.plant.run.host_api, "/facts", {"limit": "10000"}))["facts"]),
            **{key: status["counters"][key] for key in ("rejected", "unmapped", "duplicates_dropped")},
            **{key: activity[key] for key in kept},
        }

    def edge_state(self) -> dict[str, Any]:
        """The same of the gateway."""
        stats = self.plant.run.edge_stats()[GATEWAY]
        kept = ("connects", "births", "device_births", "device_deaths", "refusals", "bd_seq", "online", "health")
        log = (self.plant.directory / "logs" / f"{GATEWAY}.log").read_text(encoding="utf-8")
        said = ("command refused", "message ignored", "confirmation ignored")
        return {key: stats[key] for key in kept} | {text: log.count(text) for text in said}

    async def until_edge_tells(self) -> None:
        """Until the gateway has written counters from after now."""
        now = datetime.now(UTC)
        deadline = asyncio.get_running_loop().time() + 10
        while datetime.fromisoformat(self.plant.run.edge_stats()[GATEWAY]["time"]) <= now:
            assert asyncio.get_running_loop().time() < deadline, "the gateway writes no counters"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def attacked(directory: Path, *, is_open: bool = False) -> AsyncIterator[Attacked]:
    """The example plant with one gateway running, the other's credential with the attacker; or the same left open."""
    require_mosquitto()
    plain_port = free_port()

    def opened(config: str) -> str:
        lines = [line for line in config.splitlines() if line.split(" ")[0] not in GUARDS]
        return "\n".join([*lines, "allow_anonymous true", f"listener {plain_port} 127.0.0.1", ""])

    plant = SecurePlant(
        directory,
        host_ids=(HOST_ID, STANDBY),
        further_credentials=("observer", *UNKNOWN),
        change_acl=lambda acl: acl + OBSERVER_ACL,
        change_config=opened if is_open else str,
    )
    async with plant:
        _make_bad_certificates(plant)
        await plant.start_host()
        await plant.start_gateway(GATEWAY)
        async with Observer(plant.address("observer")) as observer:
            url = f"mqtt://127.0.0.1:{plain_port if is_open else plant.port}"
            made = Attacked(plant, observer, url)
            await plant.run.until(
                lambda status: status["counters"]["recorded"] > 0 and status["activity"]["marks_confirmed"] > 0,
                "values flow and are confirmed",
            )
            await observer.fence()
            yield made


def _make_bad_certificates(plant: SecurePlant) -> None:
    name = f"acme.dallas/{GATEWAY}"
    make_certificates(plant.directory / FOREIGN, [name])
    now = datetime.now(UTC)
    authority = Authority(plant.certificates, now=now)
    for directory, from_now, lifetime in ((EXPIRED, -10, 1), (FUTURE, 10, 1)):
        authority.directory = plant.directory / directory
        authority.issue(name, name, now=now + timedelta(days=from_now), lifetime=timedelta(days=lifetime))
