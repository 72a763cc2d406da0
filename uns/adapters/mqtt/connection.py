"""One connection to a broker: publish many, receive in batches, acknowledge by hand.

* One object is one CONNECT. paho would resend an unacknowledged message of an earlier connection, whose
  acknowledgement then proves nothing, and a Will cannot be changed later.
* Order on the wire is the order of calls, for QoS 0 and 1 alike: paho's own window is open, ours is counted here.
* Nothing received is discarded: when the bound is reached the socket is no longer read, and TCP holds the broker back.
* An MQTT 5 broker says how many QoS 1 messages it takes at once (Receive Maximum) and ends a connection that sends
  more: what is beyond waits here, and all that comes after it too, in order.
* Every wait ends in :class:`~uns.errors.ConnectionLost` when the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiomqtt
import msgspec
import paho.mqtt.client as paho

from uns.adapters.broker_address import BrokerAddress
from uns.adapters.mqtt.hints import next_step
from uns.adapters.mqtt.messages import IncomingMessage, Publication
from uns.adapters.mqtt.wire import Listener, Wire, make_client
from uns.errors import ConnectionLost, LocalProtocolError, UnreachableError

if TYPE_CHECKING:
    from paho.mqtt.enums import MQTTErrorCode

__all__ = ["MqttConnection"]

_T = TypeVar("_T")


class _Pending(msgspec.Struct, gc=False):
    """A QoS 1 publish that waits for its PUBACK; only the last one of a tracked call carries a future."""

    info: paho.MQTTMessageInfo
    done: asyncio.Future[None] | None


class _Held(msgspec.Struct, gc=False):
    """A publish that waits for the broker's Receive Maximum, or behind one that does."""

    message: Publication
    done: asyncio.Future[None] | None = None


class MqttConnection:
    """An open connection to a broker, as an async context manager; one object for one CONNECT.

    ``incoming_messages_max`` and ``incoming_bytes_max`` bound what waits for :meth:`next_batch`;
    ``outgoing_bytes_max`` is what :meth:`writable` waits for; more than ``unacknowledged_messages_max`` QoS 1 messages
    in flight are a caller's error.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        will: Publication | None = None,
        clean_session: bool = True,
        manual_ack: bool = False,
        keep_alive_s: int = 30,
        connect_timeout_s: float = 5.0,
        incoming_messages_max: int = 20_000,
        incoming_bytes_max: int = 64 << 20,
        outgoing_bytes_max: int = 8 << 20,
        unacknowledged_messages_max: int = 20_000,
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._will = will
        self._clean_session = clean_session
        self._manual_ack = manual_ack
        self._keep_alive_s = keep_alive_s
        self._connect_timeout_s = connect_timeout_s
        self._incoming_messages_max = incoming_messages_max
        self._incoming_bytes_max = incoming_bytes_max
        self._outgoing_bytes_max = outgoing_bytes_max
        self._unacknowledged_messages_max = unacknowledged_messages_max
        self._where = address.url

        self._client: aiomqtt.Client | None = None
        self._wire: Wire
        self._loop: asyncio.AbstractEventLoop
        self._lost: asyncio.Future[str]  # the reason, once there is one
        self._incoming: list[IncomingMessage] = []
        self._incoming_bytes = 0
        self._receiver: asyncio.Future[None] | None = None
        self._pending: deque[_Pending] = deque()
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._outgoing_bytes = 0
        self._writers: list[asyncio.Future[None]] = []

    # --- opening and closing -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Send CONNECT and wait for CONNACK; raise :class:`UnreachableError` or :class:`ConfigurationError`."""
        if self._client is not None:
            raise LocalProtocolError("a connection object serves one CONNECT", next_step="make a new one")
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._client = make_client(
            self._address,
            client_id=self._client_id,
            will=self._will,
            clean_session=self._clean_session,
            keep_alive_s=self._keep_alive_s,
            connect_timeout_s=self._connect_timeout_s,
            unacknowledged_messages_max=self._unacknowledged_messages_max,
        )
        self._wire = Wire(
            self._client,
            Listener(self._received, self._is_full, self._was_read, self._was_written, self._end),
            manual_ack=self._manual_ack,
            connect_timeout_s=self._connect_timeout_s,
        )
        opening = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.wait((opening, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if opening.done() or self._wire.answered:
                await asyncio.shield(opening)
            else:
                self._refuse_unanswered(opening)
        except asyncio.CancelledError:
            # The thread that connects cannot be stopped; a ghost with our client id must not stay behind.
            opening.add_done_callback(self._discard)
            raise
        except aiomqtt.MqttError as error:
            self.abort()
            raise UnreachableError(
                f"no connection to the broker: {error}",
                where=self._where,
                next_step=next_step(str(error), self._address),
            ) from error
        except BaseException:
            self.abort()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave cleanly if nothing went wrong, else cut: then the broker sends the Will."""
        if exc_type is None:
            await self.disconnect()
        else:
            self.abort()

    async def disconnect(self, *, timeout_s: float = 3.0, with_will: bool = False) -> None:
        """Write what is queued, then DISCONNECT, so that no Will is sent. Safe to call on a lost connection.

        PUBACKs that are due are waited for, for half of the time: a broker that has to write one to a closed socket may
        take the connection for lost (mosquitto 2.0 does), pass over what follows in it, and send the Will.

        ``with_will``: on MQTT 5 the broker is asked to send the Will all the same; 3.1.1 has no words for that.
        """
        if self._client is None or self._lost.done():
            return
        with contextlib.suppress(TimeoutError, ConnectionLost):
            async with asyncio.timeout(timeout_s / 2):
                await self._all_acknowledged()
        if self._lost.done():
            return
        self._wire.disconnect(with_will=with_will and self._address.mqtt5)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._lost)
        self.abort()

    def abort(self) -> None:
        """Cut the connection without DISCONNECT: the broker sends the Will."""
        if self._client is None:
            return
        self._wire.cut()
        self._end("closed by us")

    @property
    def lost(self) -> bool:
        """Whether the connection has ended; what was received before may still be read."""
        return self._client is not None and self._lost.done()

    @property
    def session_present(self) -> bool:
        """Whether the broker had kept a session for this client id."""
        return self._client is not None and self._wire.session_present

    @property
    def taken_over(self) -> bool:
        """Whether another client with our id took the connection; a broker says so on MQTT 5 alone."""
        return self._client is not None and self._wire.taken_over

    @property
    def connect_sent(self) -> bool:
        """False after a failed open: no broker was reached, so none saw our CONNECT."""
        return self._client is not None and self._wire.connect_sent

    @property
    def malformed_topics(self) -> int:
        """Messages dropped because their topic is not UTF-8, so no topic at all (MQTT 1.5.3)."""
        return 0 if self._client is None else self._wire.malformed_topics

    def call_when_lost(self, callback: Callable[[], None]) -> None:
        """Call back (soon, from the loop) when the connection has ended, at once if it has."""
        self._lost.add_done_callback(lambda _lost: callback())

    # --- receiving -----------------------------------------------------------------------------------------------

    async def subscribe(self, filters: Iterable[tuple[str, int]]) -> None:
        """Subscribe to ``(filter, qos)`` pairs in one packet; returns after SUBACK."""
        wanted = list(filters)
        client = self._open_client()
        try:
            answer = await self._unless_lost(client.subscribe(wanted))
        except aiomqtt.MqttError as error:
            self.abort()
            raise ConnectionLost(f"SUBSCRIBE failed: {error}", where=self._where) from error
        refused = [
            topic
            for (topic, _), code in zip(wanted, answer, strict=False)
            if getattr(code, "is_failure", code == paho.MQTT_ERR_CONN_REFUSED)
        ]
        if refused:
            raise UnreachableError(
                f"the broker refuses the subscription to {', '.join(refused)}",
                where=self._where,
                next_step="check the broker's access rules for this user",
            )

    async def next_batch(self) -> list[IncomingMessage]:
        """All messages that wait, at least one. Raises :class:`ConnectionLost` once there will be none any more."""
        while not self._incoming:
            if self._lost.done():
                raise self._lost_error()
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        batch = self._incoming
        self._incoming = []
        self._incoming_bytes = 0
        self._wire.resume_reading()
        return batch

    def ack(self, message: IncomingMessage) -> None:
        """Acknowledge a QoS 1 message (``manual_ack`` connections only), in the order of receiving."""
        if message.qos == 0 or not self._manual_ack:
            return
        if self._lost.done():
            raise self._lost_error()
        self._wire.ack(message)

    # --- publishing ----------------------------------------------------------------------------------------------

    def publish_many(self, messages: Iterable[Publication]) -> None:
        """Hand messages over in order and write as much as the socket takes now; the rest follows by itself.

        Raises :class:`ConnectionLost`; then none, some or all may have left. Callers that produce much await
        :meth:`writable` in between.
        """
        self._publish(messages, tracked=False)

    def publish_tracked(self, message: Publication) -> asyncio.Future[None]:
        """As :meth:`publish_many`; the future ends with the PUBACK (QoS 0: at once) or :class:`ConnectionLost`."""
        return self._publish((message,), tracked=True)

    def publish_many_tracked(self, messages: Iterable[Publication]) -> asyncio.Future[None]:
        """As :meth:`publish_many`; the future ends when every QoS 1 message of the call is acknowledged."""
        return self._publish(messages, tracked=True)

    async def publish_acknowledged(self, message: Publication) -> None:
        """Publish one QoS 1 message and wait for its PUBACK."""
        await self._publish((message,), tracked=True)

    @property
    def unacknowledged(self) -> int:
        """QoS 1 messages without PUBACK."""
        return len(self._pending) + sum(held.message.qos > 0 for held in self._held)

    def is_writable(self) -> bool:
        """Whether less than ``outgoing_bytes_max`` waits for the socket."""
        return self._outgoing_bytes < self._outgoing_bytes_max

    async def writable(self) -> None:
        """Wait until less than ``outgoing_bytes_max`` waits for the socket; raises :class:`ConnectionLost`."""
        while not self._lost.done():
            if self.is_writable():
                return
            await self._wait_written()
        raise self._lost_error()

    async def drain(self) -> None:
        """Wait until all that was published is written to the socket; raises :class:`ConnectionLost`."""
        while not self._lost.done():
            if self._outgoing_bytes == 0:
                return
            await self._wait_written()
        raise self._lost_error()

    def _publish(self, messages: Iterable[Publication], *, tracked: bool) -> asyncio.Future[None]:
        if self._lost.done():
            raise self._lost_error()
        wire = self._wire
        publish = wire.paho.publish
        pending = self._pending
        held = self._held
        window = wire.receive_maximum
        last: _Pending | _Held | None = None
        size = 0
        wire.corked = True
        try:
            for message in messages:
                payload = message.payload
                qos = message.qos
                if held or (qos and len(pending) >= window):
                    self._hold(message)
                    if qos:
                        last = held[-1]
                    continue
                info = publish(message.topic, payload, qos, message.retain)
                if info.rc != paho.MQTT_ERR_SUCCESS:
                    self._refused(info.rc)
                size += len(payload) + 64
                if qos:
                    last = _Pending(info, None)
                    pending.append(last)
        finally:
            wire.corked = False
        self._outgoing_bytes += size
        done = self._loop.create_future()
        if tracked and last is not None:
            last.done = done
            done.add_done_callback(_retrieve)
        else:
            done.set_result(None)
        wire.write()
        return done

    def _hold(self, message: Publication) -> None:
        if len(self._held) >= self._unacknowledged_messages_max:
            self._refused(paho.MQTT_ERR_QUEUE_SIZE)
        self._held.append(_Held(message))
        self._held_bytes += len(message.payload) + 64
        self._outgoing_bytes += len(message.payload) + 64

    def _release(self) -> None:
        """Publish what waited for the broker, as far as it takes more now."""
        wire = self._wire
        wire.corked = True
        try:
            while self._held and (not self._held[0].message.qos or len(self._pending) < wire.receive_maximum):
                held = self._held[0]
                message = held.message
                info = wire.paho.publish(message.topic, message.payload, message.qos, message.retain)
                if info.rc != paho.MQTT_ERR_SUCCESS:
                    self._end(paho.error_string(info.rc))  # it tells whoever waits for one of these
                    return
                self._held.popleft()
                self._held_bytes -= len(message.payload) + 64
                if message.qos:
                    self._pending.append(_Pending(info, held.done))
        finally:
            wire.corked = False
        wire.write()

    async def _all_acknowledged(self) -> None:
        while self._pending:  # what is held follows as soon as there is room
            last = self._pending[-1]
            if last.done is None:
                last.done = self._loop.create_future()
                last.done.add_done_callback(_retrieve)
            await asyncio.shield(last.done)

    def _refused(self, code: MQTTErrorCode) -> None:
        if code == paho.MQTT_ERR_QUEUE_SIZE:
            raise LocalProtocolError(
                f"{self.unacknowledged} QoS 1 messages without PUBACK",
                where=self._where,
                expected=f"at most {self._unacknowledged_messages_max}",
                next_step="wait for acknowledgements before publishing more",
            )
        self._end(paho.error_string(code))
        raise self._lost_error()

    # --- what the wire tells -----------------------------------------------------------------------------------------

    def _received(self, message: IncomingMessage) -> None:
        self._incoming.append(message)
        self._incoming_bytes += len(message.payload)

    def _is_full(self) -> bool:
        return len(self._incoming) >= self._incoming_messages_max or self._incoming_bytes >= self._incoming_bytes_max

    def _was_read(self) -> None:
        self._settle()
        if self._incoming:
            self._wake_receiver()

    def _was_written(self) -> None:
        self._outgoing_bytes = self._held_bytes
        self._wake_writers()

    def _settle(self) -> None:
        """Complete what PUBACKs arrived for. They come in order (MQTT 4.6), so the oldest tells."""
        pending = self._pending
        while pending and pending[0].info.is_published():
            done = pending.popleft().done
            if done is not None and not done.done():
                done.set_result(None)
        if self._held and not self._lost.done():
            self._release()

    # --- endings -------------------------------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        """The connection is over: wake everybody. Runs once."""
        if self._lost.done():
            return
        self._lost.set_result(reason)
        self._wire.stop_timer()
        self._wake_receiver()
        self._wake_writers()
        self._settle()
        unfinished: list[_Pending | _Held] = [*self._pending, *self._held]
        for waiting in unfinished:
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_exception(self._lost_error())
        self._pending.clear()
        self._held.clear()

    def _lost_error(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to the broker ended ({self._lost.result()})", where=self._where)

    def _open_client(self) -> aiomqtt.Client:
        if self._client is None:
            raise LocalProtocolError("the connection is not open", next_step="enter it with `async with` first")
        if self._lost.done():
            raise self._lost_error()
        return self._client

    def _refuse_unanswered(self, opening: asyncio.Future[Any]) -> None:
        """The broker ended the connection before CONNACK, as it does to a certificate that it does not take."""
        opening.add_done_callback(self._discard)
        reason = f"the broker ended the connection before it answered: {self._wire.refusal or self._lost.result()}"
        raise UnreachableError(reason, where=self._where, next_step=next_step(reason, self._address))

    def _discard(self, opening: asyncio.Future[Any]) -> None:
        with contextlib.suppress(BaseException):
            opening.result()
        with contextlib.suppress(asyncio.CancelledError):  # at the end of the loop: aiomqtt asks its cancelled future
            self.abort()

    async def _unless_lost(self, call: Awaitable[_T]) -> _T:
        """Await ``call``, but no longer than the connection lives."""
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait((task, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._lost_error()
            return task.result()
        finally:
            if not task.done():
                task.cancel()

    async def _wait_written(self) -> None:
        written = self._loop.create_future()
        self._writers.append(written)
        await written

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    def _wake_writers(self) -> None:
        if self._writers:
            for writer in self._writers:
                if not writer.done():
                    writer.set_result(None)
            self._writers.clear()


def _retrieve(future: asyncio.Future[None]) -> None:
    """A caller may drop its future; asyncio shall not complain of an exception that nobody fetched."""
    if not future.cancelled():
        future.exception()
