"""``uns doctor``: listen to a broker for a while, and let the grader judge what comes.

It subscribes and publishes nothing; only ``ask_rebirth`` makes it send one rebirth request to each node whose births it
has not seen. In the end it subscribes a second time: the broker then delivers again what it keeps, and that is the one
way to see retained births over MQTT 3.1.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import Callable, Sequence

import msgspec

from uns.adapters.broker_address import BrokerAddress
from uns.adapters.mqtt import MqttConnection
from uns.delivery.messages import CONFIRM_ROOT, MARK_FILTER
from uns.doctor.grader import CERTIFICATES_FILTER, LEGACY_STATE_FILTER, Grader
from uns.doctor.report import Report
from uns.doctor.reporting import build_report
from uns.errors import ConnectionLost, UnreachableError
from uns.sparkplug.codec import encode_command
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import NAMESPACE, EdgeNodeDescriptor, MessageType

__all__ = ["Watch", "watch_broker"]

REBIRTHS_PER_SECOND_MAX = 10
REBIRTH_AFTER_S = 2.0  # a node may be born by itself just now
SETTLE_S = 0.5  # quiet for so long: the broker has delivered what it keeps
SETTLE_MAX_S = 5.0
_INCOMING_MAX = 20_000
_CHUNK = 200
_RECONNECT_S = 1.0
# Wishes: a user who may not read them is graded without.
_OPTIONAL = (("spAv1.0/#", 0), (LEGACY_STATE_FILTER, 1), (CERTIFICATES_FILTER, 0))


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the doctor."""

    address: BrokerAddress
    seconds: float
    groups: tuple[str, ...] = ()  # none: all
    ask_rebirth: bool = False


async def watch_broker(watch: Watch, *, tell: Callable[[str], None] | None = None) -> Report:
    """Listen and grade. Ctrl-C ends it early, with a report.

    Raises :class:`UnreachableError` where the broker does not answer at the start.
    """
    watcher = _Watcher(watch, tell or (lambda _text: None))
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not on every system, not outside the main thread
        loop.add_signal_handler(signal.SIGINT, watcher.stop)
    try:
        return await watcher.run()
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)


class _Watcher:
    def __init__(self, watch: Watch, tell: Callable[[str], None]) -> None:
        self._watch = watch
        self._tell = tell
        self._grader = Grader(time.time_ns())
        self._asked: set[EdgeNodeDescriptor] = set()
        self._told_nodes = 0
        self._told_at = float("-inf")
        self._began = time.monotonic()
        self._end = self._began + watch.seconds

    def stop(self) -> None:
        """End the watch now; the report is made of what was seen."""
        self._end = 0.0

    async def run(self) -> Report:
        first = True
        looked = False
        while not looked:
            try:
                async with self._connection() as connection:
                    await self._subscribe(connection)
                    if first:
                        self._began = time.monotonic()
                        self._end = self._began + self._watch.seconds
                        self._tell(f"watching {self._watch.address.url} for {self._watch.seconds:g} s")
                    else:
                        self._tell("watching again")
                    first = False
                    await self._listen(connection)
                    self._grader.look_again()
                    await self._subscribe(connection)
                    await self._settle(connection)
                    looked = True
            except UnreachableError:
                if first:
                    raise
                self._grader.receive_interruption()
                self._asked.clear()
                left = self._end - time.monotonic()
                if left <= 0:
                    break
                self._tell("the connection was lost; trying again")
                await asyncio.sleep(min(_RECONNECT_S, left))
        now_ns = time.time_ns()
        self._grader.finish(now_ns)
        return build_report(self._grader, now_ns=now_ns, broker=self._watch.address.url)

    def _connection(self) -> MqttConnection:
        return MqttConnection(
            self._watch.address,
            client_id=f"uns-doctor-{secrets.token_hex(4)}",
            incoming_messages_max=_INCOMING_MAX,
        )

    async def _subscribe(self, connection: MqttConnection) -> None:
        """At QoS 1, so that each message comes at the QoS of its publisher."""
        await connection.subscribe(self._filters())
        for wish in (*_OPTIONAL, (MARK_FILTER, 0), (f"{CONFIRM_ROOT}/#", 0)):
            with contextlib.suppress(UnreachableError):
                await connection.subscribe([wish])
            if connection.lost:
                raise ConnectionLost("the broker ended the connection at a SUBSCRIBE", where=self._watch.address.url)

    def _filters(self) -> Sequence[tuple[str, int]]:
        if not self._watch.groups:
            return [(f"{NAMESPACE}/#", 1)]
        return [(f"{NAMESPACE}/{group}/#", 1) for group in (*self._watch.groups, "STATE")]

    async def _listen(self, connection: MqttConnection) -> None:
        while (left := self._end - time.monotonic()) > 0:
            await self._take(connection, min(left, 1.0))
            self._grader.receive_timer(time.time_ns())
            self._tell_progress()
            if self._watch.ask_rebirth and time.monotonic() - self._began > REBIRTH_AFTER_S:
                self._ask_rebirths(connection)

    def _tell_progress(self) -> None:
        """How many nodes were seen, where that changed; at most one line a second."""
        nodes, now = len(self._grader.nodes), time.monotonic()
        if nodes != self._told_nodes and now - self._told_at >= 1.0:
            self._told_nodes, self._told_at = nodes, now
            self._tell(f"{nodes} {'node' if nodes == 1 else 'nodes'} so far")

    async def _settle(self, connection: MqttConnection) -> None:
        end = time.monotonic() + SETTLE_MAX_S
        quiet_since = time.monotonic()
        while time.monotonic() < end and time.monotonic() - quiet_since < SETTLE_S:
            if await self._take(connection, SETTLE_S):
                quiet_since = time.monotonic()

    async def _take(self, connection: MqttConnection, wait_s: float) -> bool:
        """Grade what waits; False if nothing of what the broker keeps was among it."""
        try:
            async with asyncio.timeout(wait_s):
                batch = await connection.next_batch()
        except TimeoutError:
            return False
        if len(batch) >= _INCOMING_MAX:
            self._grader.receive_interruption()  # we were too slow: the broker may have dropped QoS 0
        now_ns = time.time_ns()
        kept = False
        for count, message in enumerate(batch, 1):
            self._grader.receive(message.topic, message.payload, message.qos, message.retain, now_ns)
            kept |= message.retain
            if count % _CHUNK == 0:
                await asyncio.sleep(0)
        return kept

    def _ask_rebirths(self, connection: MqttConnection) -> None:
        unborn = [node.descriptor for node in self._grader.nodes.values() if node.life == "unknown"]
        for descriptor in [node for node in unborn if node not in self._asked][:REBIRTHS_PER_SECOND_MAX]:
            self._asked.add(descriptor)
            metric = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
            payload = encode_command([metric], timestamp_ms=time.time_ns() // 1_000_000)
            connection.publish_many([Message(descriptor.topic(MessageType.NCMD), payload)])
            self._tell(f"asked {descriptor} for a rebirth")
