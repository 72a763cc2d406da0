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
from uns.delivery.messages import CONFIRM_ROOT, MARK_ROOT
from uns.doctor.grader import CERTIFICATES_FILTER, LEGACY_STATE_FILTER, Grader
from uns.doctor.report import Report
from uns.doctor.reporting import build_report
from uns.errors import UnreachableError
from uns.sparkplug.codec import encode_command
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import NAMESPACE, EdgeNodeDescriptor, MessageType

__all__ = ["Watch", "watch_broker"]

REBIRTHS_PER_SECOND_MAX = 10
REBIRTH_AFTER_S = 2.0  # a node may be born by itself just now
SETTLE_S = 1.5  # quiet for so long: the broker has delivered what it keeps
SETTLE_MAX_S = 10.0
PROGRESS_S = 30.0
_INCOMING_MAX = 20_000
_INCOMING_BYTES_MAX = 64 << 20
_TURN_S = 0.02  # graded at a time; then the socket is read again, lest the broker drops what it cannot hand over
_WAIT_S = 0.25  # for messages; then timers and Ctrl-C have their turn
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
    """Listen and grade. Ctrl-C (or SIGTERM) ends it early, with a report.

    Raises :class:`UnreachableError` where the broker does not answer at the start, ``KeyboardInterrupt`` at a Ctrl-C
    before that, and at the second one.
    """
    watcher = _Watcher(watch, tell or (lambda _text: None))
    task = asyncio.ensure_future(watcher.run())

    def interrupt() -> None:
        if not watcher.stop():
            task.cancel()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not on every system, not outside the main thread
        for number in signals:
            loop.add_signal_handler(number, interrupt)
    try:
        await asyncio.wait((task,))
        if task.cancelled():
            raise KeyboardInterrupt
        return task.result()
    finally:
        task.cancel()
        with contextlib.suppress(NotImplementedError, RuntimeError):
            for number in signals:
                loop.remove_signal_handler(number)


class _WishRefusedError(Exception):
    """The broker ended the connection at a SUBSCRIBE that we can do without."""


class _Watcher:
    def __init__(self, watch: Watch, tell: Callable[[str], None]) -> None:
        self._watch = watch
        self._tell = tell
        self._grader = Grader(time.time_ns())
        self._asked: set[EdgeNodeDescriptor] = set()
        self._wishes = [*_OPTIONAL, *self._of_our_gateways()]
        self._told_nodes = 0
        self._told_at = float("-inf")
        self._began = time.monotonic()
        self._end = self._began + watch.seconds
        self._watching = False

    def stop(self) -> bool:
        """End the watch now, with a report of what was seen; False where there is none, or it was stopped before."""
        if not self._watching or not self._end:
            return False
        self._end = 0.0
        return True

    async def run(self) -> Report:
        while True:
            try:
                async with self._connection() as connection:
                    await self._subscribe(connection)
                    self._start()
                    await self._listen(connection)
                    await self._look_again(connection)
                    break
            except _WishRefusedError:
                continue
            except UnreachableError:
                if not self._watching:
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

    def _start(self) -> None:
        if self._watching:
            self._tell("watching again")
            return
        self._watching = True
        self._began = self._told_at = time.monotonic()
        self._end = self._began + self._watch.seconds
        self._told_at -= 1.0
        self._tell(
            f"watching {self._watch.address.url} for {self._watch.seconds:g} s; Ctrl-C ends it early, with a report"
        )

    async def _look_again(self, connection: MqttConnection) -> None:
        self._tell("asking the broker for what it keeps")
        self._grader.look_again()
        await self._subscribe(connection)
        if not await self._settle(connection):
            self._grader.looked_again = False  # there is more than came in time: what is not among it may be kept, too

    def _connection(self) -> MqttConnection:
        return MqttConnection(
            self._watch.address,
            client_id=f"uns-doctor-{secrets.token_hex(4)}",
            incoming_messages_max=_INCOMING_MAX,
            incoming_bytes_max=_INCOMING_BYTES_MAX,
        )

    async def _subscribe(self, connection: MqttConnection) -> None:
        """At QoS 1, so that each message comes at the QoS of its publisher."""
        await connection.subscribe(self._filters())
        for wish in tuple(self._wishes):
            with contextlib.suppress(UnreachableError):
                await connection.subscribe([wish])
            if connection.lost:
                self._wishes.remove(wish)  # some brokers answer so to what a user may not read
                raise _WishRefusedError

    def _of_our_gateways(self) -> list[tuple[str, int]]:
        """Marks and answers of the groups that are watched: without their DATA they would tell of a denial."""
        groups = [f"{group}/+" for group in self._watch.groups] or ["#"]
        return [(f"{root}/{group}", 0) for root in (MARK_ROOT, CONFIRM_ROOT) for group in groups]

    def _filters(self) -> Sequence[tuple[str, int]]:
        if not self._watch.groups:
            return [(f"{NAMESPACE}/#", 1)]
        return [(f"{NAMESPACE}/{group}/#", 1) for group in (*self._watch.groups, "STATE")]

    async def _listen(self, connection: MqttConnection) -> None:
        while (left := self._end - time.monotonic()) > 0:
            await self._take(connection, min(left, _WAIT_S))
            self._grader.receive_timer(time.time_ns())
            self._tell_progress()
            if self._watch.ask_rebirth and time.monotonic() - self._began > REBIRTH_AFTER_S:
                self._ask_rebirths(connection)

    def _tell_progress(self) -> None:
        """How many nodes were seen, where that changed, once a second at most; and every half minute in all."""
        grader, now = self._grader, time.monotonic()
        nodes = len(grader.nodes)
        if now - self._told_at < (1.0 if nodes != self._told_nodes else PROGRESS_S):
            return
        changed = nodes != self._told_nodes
        self._told_nodes, self._told_at = nodes, now
        text = f"{nodes} {'node' if nodes == 1 else 'nodes'} so far"
        if not changed:
            findings = len(grader.verdicts.findings)
            text += f" after {now - self._began:.0f} s: {grader.messages:,} messages, {findings:,} findings"
        self._tell(text)

    async def _settle(self, connection: MqttConnection) -> bool:
        """Until the broker has been quiet; False where it goes on delivering what it keeps."""
        end = time.monotonic() + SETTLE_MAX_S
        quiet_since = time.monotonic()
        while time.monotonic() < end:
            if await self._take(connection, SETTLE_S):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= SETTLE_S:
                return True
        return False

    async def _take(self, connection: MqttConnection, wait_s: float) -> bool:
        """Grade what waits; False if nothing of what the broker keeps was among it."""
        try:
            async with asyncio.timeout(wait_s):
                batch = await connection.next_batch()
        except TimeoutError:
            return False
        if len(batch) >= _INCOMING_MAX or sum(len(message.payload) for message in batch) >= _INCOMING_BYTES_MAX:
            self._grader.receive_interruption()  # we were too slow: the broker may have dropped QoS 0
        now_ns = time.time_ns()
        kept = False
        turn_ends = time.monotonic() + _TURN_S
        for message in batch:
            self._grader.receive(message.topic, message.payload, message.qos, message.retain, now_ns)
            kept |= message.retain
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _TURN_S
        return kept

    def _ask_rebirths(self, connection: MqttConnection) -> None:
        unborn = [node.descriptor for node in self._grader.nodes.values() if node.life == "unknown"]
        for descriptor in [node for node in unborn if node not in self._asked][:REBIRTHS_PER_SECOND_MAX]:
            self._asked.add(descriptor)
            metric = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
            # Nodes that were never heard may be any vendor's: some fall silent over a command without its datatype.
            payload = encode_command([metric], timestamp_ms=time.time_ns() // 1_000_000, with_datatype=True)
            request = Message(descriptor.topic(MessageType.NCMD), payload)
            self._grader.expect_own(request.topic, request.payload)
            connection.publish_many([request])
            self._tell(f"asked {descriptor} for a rebirth")
