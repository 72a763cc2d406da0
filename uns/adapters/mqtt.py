"""One MQTT connection, 3.1.1 or 5, as the sessions need it: publish many, receive in batches, acknowledge by hand.

aiomqtt opens and configures the connection; reading and writing run on the paho client inside it, because aiomqtt
spends a task per message, and because its bounded queue discards what paho has acknowledged already. This is the only
module that imports either.

* One object is one CONNECT. paho would resend an unacknowledged message of an earlier connection, whose
  acknowledgement then proves nothing, and a Will cannot be changed later.
* Order on the wire is the order of calls, for QoS 0 and 1 alike: paho's own window is open, ours is counted here.
* Nothing received is discarded: when the bound is reached the socket is no longer read, and TCP holds the broker back.
* Every wait ends in :class:`~uns.errors.ConnectionLost` when the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import aiomqtt
import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from uns.adapters.broker_address import BrokerAddress, parse_broker_url, tls_context
from uns.errors import ConnectionLost, LocalProtocolError, UnreachableError

if TYPE_CHECKING:
    from paho.mqtt.enums import MQTTErrorCode

__all__ = [
    "BrokerAddress",
    "ConnectionLost",
    "IncomingMessage",
    "MqttConnection",
    "Publication",
    "parse_broker_url",
]

_DISCONNECT_WITH_WILL, _SESSION_TAKEN_OVER = 0x04, 0x8E  # reason codes of MQTT 5
_PACKETS_PER_READ_MAX = 512  # then other tasks get their turn
_T = TypeVar("_T")


class Publication(Protocol):
    """Anything with these four fields can be published (:class:`uns.sparkplug.messages.Message` is one)."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def payload(self) -> bytes: ...  # noqa: D102
    @property
    def qos(self) -> int: ...  # noqa: D102
    @property
    def retain(self) -> bool: ...  # noqa: D102


class IncomingMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message. ``mid`` serves :meth:`MqttConnection.ack` alone."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    mid: int = 0


class _Pending(msgspec.Struct, gc=False):
    """A QoS 1 publish that waits for its PUBACK; only the last one of a tracked call carries a future."""

    info: paho.MQTTMessageInfo
    done: asyncio.Future[None] | None


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
        self._paho: paho.Client
        self._loop: asyncio.AbstractEventLoop
        self._lost: asyncio.Future[str]  # the reason, once there is one
        self._incoming: list[IncomingMessage] = []
        self._incoming_bytes = 0
        self._reading_paused = False
        self._fileno = -1
        self._receiver: asyncio.Future[None] | None = None
        self._pending: deque[_Pending] = deque()
        self._outgoing_bytes = 0
        self._writers: list[asyncio.Future[None]] = []
        self._write_wanted = False
        self._in_batch = False
        self._misc_timer: asyncio.TimerHandle | None = None
        self._answered = False  # by a CONNACK
        self._refusal = ""  # what paho logs, and tells nobody, of a connection that ends before CONNACK
        self.session_present = False
        self.taken_over = False  # by another client with our id; a broker says so on MQTT 5 alone
        self.connect_sent = False  # False after a failed open: no broker was reached, so none saw our CONNECT
        self.malformed_topics = 0  # dropped: not UTF-8, so no topic at all (MQTT 1.5.3)

    # --- opening and closing -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Send CONNECT and wait for CONNACK; raise :class:`UnreachableError` or :class:`ConfigurationError`."""
        if self._client is not None:
            raise LocalProtocolError("a connection object serves one CONNECT", next_step="make a new one")
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._client = self._make_client()
        self._paho = paho_client_of(self._client)
        self._take_over()
        opening = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.wait((opening, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if opening.done() or self._answered:
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
                next_step="check that the broker runs there and takes these credentials",
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

        ``with_will``: on MQTT 5 the broker is asked to send the Will all the same; 3.1.1 has no words for that.
        """
        if self._client is None or self._lost.done():
            return
        self._in_batch = True
        reason = None
        if with_will and self._address.mqtt5:
            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_DISCONNECT_WITH_WILL)
        try:
            self._paho.disconnect(reason)
        finally:
            self._in_batch = False
        self._write()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._lost)
        self.abort()

    def abort(self) -> None:
        """Cut the connection without DISCONNECT: the broker sends the Will."""
        if self._client is None:
            return
        raw = self._paho.socket()
        if raw is not None:
            with contextlib.suppress(OSError):
                if isinstance(raw, socket.socket):
                    socket.socket.shutdown(raw, socket.SHUT_RDWR)
            # End of file now waits on the socket; reading it lets paho close down by its own rules.
            for _ in range(_PACKETS_PER_READ_MAX):
                if self._paho.socket() is None:
                    break
                with contextlib.suppress(Exception):
                    self._paho.loop_read()
        self._end("closed by us")

    @property
    def lost(self) -> bool:
        """Whether the connection has ended; what was received before may still be read."""
        return self._client is not None and self._lost.done()

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
        if self._reading_paused:
            self._resume_reading()
        return batch

    def ack(self, message: IncomingMessage) -> None:
        """Acknowledge a QoS 1 message (``manual_ack`` connections only), in the order of receiving."""
        if message.qos == 0 or not self._manual_ack:
            return
        if self._lost.done():
            raise self._lost_error()
        self._in_batch = True
        try:
            self._paho.ack(message.mid, message.qos)
        finally:
            self._in_batch = False
        self._write()

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
        return len(self._pending)

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
        publish = self._paho.publish
        pending = self._pending
        last: _Pending | None = None
        size = 0
        self._in_batch = True
        try:
            for message in messages:
                payload = message.payload
                qos = message.qos
                info = publish(message.topic, payload, qos, message.retain)
                if info.rc != paho.MQTT_ERR_SUCCESS:
                    self._refused(info.rc)
                size += len(payload) + 64
                if qos:
                    last = _Pending(info, None)
                    pending.append(last)
        finally:
            self._in_batch = False
        self._outgoing_bytes += size
        done = self._loop.create_future()
        if tracked and last is not None:
            last.done = done
            done.add_done_callback(_retrieve)
        else:
            done.set_result(None)
        self._write()
        return done

    def _refused(self, code: MQTTErrorCode) -> None:
        if code == paho.MQTT_ERR_QUEUE_SIZE:
            raise LocalProtocolError(
                f"{len(self._pending)} QoS 1 messages without PUBACK",
                where=self._where,
                expected=f"at most {self._unacknowledged_messages_max}",
                next_step="wait for acknowledgements before publishing more",
            )
        self._end(paho.error_string(code))
        raise self._lost_error()

    # --- the socket ----------------------------------------------------------------------------------------------

    def _make_client(self) -> aiomqtt.Client:
        host, port, secure = parse_broker_url(self._address.url)
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: unacknowledged bytes end a half-open connection
            options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._keep_alive_s * 1000))
        will = self._will
        return aiomqtt.Client(
            host,
            port,
            identifier=self._client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if self._address.mqtt5 else aiomqtt.ProtocolVersion.V311,
            username=self._address.username,
            password=self._address.password(),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            # MQTT 5: Clean Start, and a session that expires with the connection, which is what nothing said means.
            clean_session=None if self._address.mqtt5 else self._clean_session,
            clean_start=self._clean_session if self._address.mqtt5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=self._keep_alive_s,
            timeout=self._connect_timeout_s,
            tls_context=tls_context(self._address) if secure else None,
            socket_options=options,
            # 0 opens paho's window: a message that it held back would be overtaken by later QoS 0 ones.
            max_inflight_messages=0,
            max_queued_outgoing_messages=self._unacknowledged_messages_max,
        )

    def _take_over(self) -> None:
        """Put our callbacks in the place of aiomqtt's, all through paho's public names."""
        client = self._paho
        client.connect_timeout = self._connect_timeout_s
        client.disable_logger()
        client.manual_ack_set(self._manual_ack)
        connected: Any = client.on_connect  # paho types them for every version of its callbacks at once
        ended: Any = client.on_disconnect

        def on_log(_client: Any, _userdata: Any, level: Any, text: str) -> None:
            if level == paho.MQTT_LOG_ERR:
                self._refusal = text.removeprefix("failed to receive on socket: ")

        def on_connect(client_: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:
            self._answered = True
            client.on_log = None  # it would cost with every packet
            self.session_present = bool(flags.session_present)
            if connected is not None:
                connected(client_, userdata, flags, reason, properties)

        def on_disconnect(client_: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:
            if getattr(reason, "value", None) == _SESSION_TAKEN_OVER:  # paho tells of one end more than once
                self.taken_over = True
            self._end(str(reason))
            if ended is not None:  # aiomqtt waits for it when it leaves; the reason is told by us
                ended(client_, userdata, flags, paho.MQTT_ERR_SUCCESS, properties)

        client.on_log = on_log
        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_message = self._on_message
        client.on_publish = None  # paho builds two objects for each call; _settle looks for itself
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_write_wanted
        client.on_socket_unregister_write = self._on_write_done

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        # Called by the thread that connects, straight before it sends CONNECT.
        self.connect_sent = True
        self._loop.call_soon_threadsafe(self._start_reading, sock.fileno())

    def _start_reading(self, fileno: int) -> None:
        if self._paho.socket() is None:
            return
        self._fileno = fileno
        self._loop.add_reader(fileno, self._read)
        self._misc_timer = self._loop.call_later(1.0, self._misc)

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._fileno = -1
        if self._misc_timer is not None:
            self._misc_timer.cancel()
        fileno = sock.fileno()
        if fileno > -1 and not self._loop.is_closed():
            self._loop.remove_reader(fileno)
            self._loop.remove_writer(fileno)

    def _read(self) -> None:
        """Take packets while there are any, within the bounds."""
        client = self._paho
        self._in_batch = True  # acknowledgements leave together below
        try:
            for _ in range(_PACKETS_PER_READ_MAX):
                before = len(self._incoming)
                client.loop_read()
                sock = client.socket()
                if sock is None:
                    break
                if self._is_full():
                    self._pause_reading()
                    break
                if len(self._incoming) == before and not _holds_bytes(sock):
                    break
            else:
                if _holds_bytes(client.socket()):
                    self._loop.call_soon(self._read_if_open)
        except Exception as error:  # noqa: BLE001 - paho lets socket errors of all kinds through
            self._in_batch = False
            self._end(f"{type(error).__name__}: {error}")
            self.abort()
            return
        self._in_batch = False
        self._settle()
        if client.socket() is not None and client.want_write():
            self._write()
        if self._incoming:
            self._wake_receiver()

    def _is_full(self) -> bool:
        return len(self._incoming) >= self._incoming_messages_max or self._incoming_bytes >= self._incoming_bytes_max

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._fileno > -1:
            self._reading_paused = True
            self._loop.remove_reader(self._fileno)

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self._fileno > -1:
            self._loop.add_reader(self._fileno, self._read)
            self._loop.call_soon(self._read_if_open)  # bytes may wait inside a TLS record, where no poll sees them

    def _read_if_open(self) -> None:
        if self._fileno > -1 and not self._reading_paused:
            self._read()

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        try:
            received = IncomingMessage(message.topic, payload, message.qos, message.retain, message.mid)
        except UnicodeDecodeError:
            self.malformed_topics += 1
            if message.qos and self._manual_ack:
                self._paho.ack(message.mid, message.qos)
            return
        self._incoming.append(received)
        self._incoming_bytes += len(payload)

    def _settle(self) -> None:
        """Complete what PUBACKs arrived for. They come in order (MQTT 4.6), so the oldest tells."""
        pending = self._pending
        while pending and pending[0].info.is_published():
            done = pending.popleft().done
            if done is not None and not done.done():
                done.set_result(None)

    def _on_write_wanted(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._write_wanted = True
        if not self._in_batch:  # also called by the thread that connects
            self._loop.call_soon_threadsafe(self._watch_writable, sock)

    def _watch_writable(self, sock: Any) -> None:
        fileno = sock.fileno()
        if self._write_wanted and fileno > -1:
            self._loop.add_writer(fileno, self._write)

    def _on_write_done(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._write_wanted = False
        fileno = sock.fileno()
        if fileno > -1:
            self._loop.remove_writer(fileno)

    def _write(self) -> None:
        """Write until the socket is full or all is out."""
        client = self._paho
        self._in_batch = True
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001 - paho lets socket errors of all kinds through
            self._in_batch = False
            self._end(f"{type(error).__name__}: {error}")
            self.abort()
            return
        self._in_batch = False
        sock = client.socket()
        if sock is None:
            return
        if client.want_write():
            self._watch_writable(sock)
        else:
            self._outgoing_bytes = 0
            self._wake_writers()

    def _misc(self) -> None:
        """Keep-alive, once a second."""
        if self._paho.socket() is None:
            return
        self._paho.loop_misc()
        if self._paho.socket() is not None:
            self._misc_timer = self._loop.call_later(1.0, self._misc)

    # --- endings -------------------------------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        """The connection is over: wake everybody. Runs once."""
        if self._lost.done():
            return
        self._lost.set_result(reason)
        if self._misc_timer is not None:
            self._misc_timer.cancel()
        self._wake_receiver()
        self._wake_writers()
        self._settle()
        for waiting in self._pending:
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_exception(self._lost_error())
        self._pending.clear()

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
        raise UnreachableError(
            f"the broker ended the connection before it answered: {self._refusal or self._lost.result()}",
            where=self._where,
            next_step="check this client's certificate and its authority, and whether both sides speak TLS",
        )

    def _discard(self, opening: asyncio.Future[Any]) -> None:
        with contextlib.suppress(BaseException):
            opening.result()
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


def paho_client_of(client: aiomqtt.Client) -> paho.Client:
    """The one place where a private name of aiomqtt is used; a test fails when an upgrade moves it."""
    return client._client  # noqa: SLF001


def _retrieve(future: asyncio.Future[None]) -> None:
    """A caller may drop its future; asyncio shall not complain of an exception that nobody fetched."""
    if not future.cancelled():
        future.exception()


def _holds_bytes(sock: Any) -> bool:
    """Whether bytes wait inside a TLS record: they are out of the kernel, so no poll will tell of them."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
