"""An outsider on the broker: it sees births, deaths, host states and ticks, and when each came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from datetime import datetime
from typing import Self

import aiomqtt
import msgspec

from uns.delivery.messages import SESSION_METRIC
from uns.errors import UnsError
from uns.sparkplug.codec import decode_birth, decode_death

__all__ = ["Birth", "Death", "Observer", "Seen"]


class Birth(msgspec.Struct, frozen=True):
    """An NBIRTH as it went over the wire."""

    at: float  # monotonic seconds
    bd_seq: int
    session: str


class Death(msgspec.Struct, frozen=True):
    """An NDEATH: ours at a clean end, the broker's after a fault."""

    at: float
    bd_seq: int


class Seen(msgspec.Struct, frozen=True):
    """The host's STATE, or with ``online`` None the loss of the broker itself."""

    at: float
    online: bool | None


class Observer:
    """Subscribes at QoS 0 and connects again by itself when the broker went away."""

    def __init__(self, port: int, *, gateway: str, host_id: str) -> None:
        self._port = port
        self._gateway = gateway
        self._host_id = host_id
        self._task: asyncio.Task[None] | None = None
        self.connected = False
        self.births: list[Birth] = []
        self.deaths: list[Death] = []
        self.host_states: list[Seen] = []
        self.broker_losses: list[float] = []
        self.newest_tick_ms = 0  # newest source time in any tick
        self.ticks: deque[bytes] = deque(maxlen=2000)
        self.texts: list[tuple[str, bytes]] = []  # everything under uns1/ that is no tick, bounded

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="observer")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                async with aiomqtt.Client("127.0.0.1", self._port, identifier="observer", timeout=5) as client:
                    await client.subscribe([("spBv1.0/#", 0), ("uns1/#", 0)])
                    self.connected = True
                    async for message in client.messages:
                        payload = message.payload if isinstance(message.payload, bytes) else b""
                        self._receive(str(message.topic), payload)
            if self.connected:
                self.broker_losses.append(time.monotonic())
            self.connected = False
            await asyncio.sleep(0.1)

    def _receive(self, topic: str, payload: bytes) -> None:
        now = time.monotonic()
        levels = topic.split("/")
        with contextlib.suppress(
            UnsError, ValueError, TypeError, LookupError
        ):  # foreign clients send rubbish in some tests
            if levels[0] == "uns1":
                if len(levels) > 3 and levels[3] == "_data":
                    self._receive_tick(payload)
                elif len(self.texts) < 50_000:
                    self.texts.append((topic, payload))
            elif levels[1:] == ["STATE", self._host_id]:
                self.host_states.append(Seen(now, bool(json.loads(payload)["online"])))
            elif levels[2:] == ["NBIRTH", self._gateway]:
                birth = decode_birth(payload)
                session = next((m.value for m in birth.metrics if m.name == SESSION_METRIC), "")
                self.births.append(Birth(now, -1 if birth.bd_seq is None else birth.bd_seq, str(session)))
            elif levels[2:] == ["NDEATH", self._gateway]:
                bd_seq = decode_death(payload)
                self.deaths.append(Death(now, -1 if bd_seq is None else bd_seq))

    def _receive_tick(self, payload: bytes) -> None:
        self.ticks.append(payload)
        newest = max(sample["time"] for sample in json.loads(payload)["samples"])
        self.newest_tick_ms = max(self.newest_tick_ms, round(datetime.fromisoformat(newest).timestamp() * 1000))

    def sessions(self) -> list[Birth]:
        """The first NBIRTH of each session seen, in order: rebirths left out."""
        first: dict[str, Birth] = {}
        for birth in self.births:
            first.setdefault(birth.session, birth)
        return list(first.values())

    def topics(self, part: str) -> list[tuple[str, bytes]]:
        """What came under ``uns1/`` with ``part`` among its levels."""
        return [(topic, payload) for topic, payload in self.texts if part in topic.split("/")]
