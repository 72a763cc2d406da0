"""What a probe is, what it may use, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from uns.adapters.broker_address import BrokerAddress
from uns.adapters.raw_mqtt import MQTT_3_1_1, RawMqtt, RawWill
from uns.errors import UnreachableError

__all__ = ["ARRIVAL_S", "QUIET_S", "CheckReport", "Finding", "Probe", "Probing", "Verdict"]

ARRIVAL_S = 5.0  # what has not come by then does not come
QUIET_S = 0.7  # what should not come, and has not by then, does not come

_REFUSALS = {
    1: "this version of MQTT",
    2: "this client id",
    3: "not available now",
    4: "user name or password",
    5: "not authorized",
}

Verdict = Literal["ok", "warns", "fails", "not_probed"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe found."""

    probe: str
    title: str
    verdict: Verdict
    seen: str
    means: str  # for this product
    next_step: str = ""
    tck_ids: tuple[str, ...] = ()


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of them: what ``uns broker check --json`` prints."""

    schema: Literal["uns1.broker_check/1"] = "uns1.broker_check/1"
    broker: str
    prefix: str
    verdict: Verdict
    seconds: float
    mqtt_5: dict[str, int | str]  # what the broker says of itself
    probes: list[Finding]


class Probing:
    """The connection data of a check; every topic that is written is made by :meth:`topic`, and cleared in the end."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        token: str,
        restart: Callable[[], Awaitable[None]] | None = None,
        node: tuple[str, str] | None = None,
    ) -> None:
        self.address = address
        self.prefix = f"uns-probe/{token}"
        self.restart = restart
        self.node = node
        self.kept: set[str] = set()
        self.properties: dict[str, int | str] = {}
        self.speaks_5 = False
        self.denied = False  # what this user writes under the prefix does not arrive
        self._token = token
        self._clients = 0

    def topic(self, name: str) -> str:
        """A topic of this check."""
        return f"{self.prefix}/{name}"

    def client_id(self, name: str) -> str:
        """A client id of this check; 23 bytes at most, as 3.1.1 lets brokers ask."""
        self._clients += 1
        return f"unsp{self._token[:6]}{name[:6]}{self._clients}"

    async def connect(
        self,
        name: str,
        *,
        client_id: str | None = None,
        version: int = MQTT_3_1_1,
        will: RawWill | None = None,
        keep_alive_s: int = 60,
        receive_buffer_bytes: int | None = None,
        only: str | None = None,
    ) -> RawMqtt:
        """An accepted connection; raises :class:`UnreachableError` where the broker refuses it.

        ``only`` is the topic that it looks at: some brokers deliver others unasked.
        """
        made = await RawMqtt.open(
            self.address,
            client_id=self.client_id(name) if client_id is None else client_id,
            version=version,
            will=will,
            keep_alive_s=keep_alive_s,
            receive_buffer_bytes=receive_buffer_bytes,
        )
        if made.code:
            await made.disconnect()
            why = _REFUSALS.get(made.code, "") if version == MQTT_3_1_1 else ""
            raise UnreachableError(
                f"the broker refuses the connection with code {made.code}{why and f' ({why})'}",
                where=self.address.url,
                next_step="check user name, password and certificate",
            )
        made.only = only
        return made

    async def observer(self, topic: str, qos: int = 1) -> RawMqtt:
        """A connection that is subscribed to one topic and looks at nothing else."""
        made = await self.connect("see", only=topic)
        await made.subscribe((topic, qos))
        return made

    async def keep(self, client: RawMqtt, topic: str, payload: bytes) -> None:
        """Publish with retain; it is cleared in the end."""
        self.kept.add(topic)
        await client.publish(topic, payload, retain=True)

    async def clear(self) -> None:
        """Delete what was published with retain."""
        if self.kept:
            async with await self.connect("clear") as client:
                for topic in sorted(self.kept):
                    await client.publish(topic, b"", retain=True)
            self.kept.clear()


ProbeFunction = Callable[[Probing], Awaitable[tuple[Verdict, str]]]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: what is tried, and what its outcome means here."""

    name: str
    title: str
    run: ProbeFunction
    means_ok: str
    means_not: str
    next_step: str
    tck_ids: Sequence[str] = ()
    needs_two: bool = True  # connections at a time under one credential
