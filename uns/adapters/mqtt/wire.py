"""The bytes of one connection: paho's client inside aiomqtt, on a socket that the event loop watches.

aiomqtt opens and configures the connection; reading and writing run on the paho client inside it, because aiomqtt
spends a task per message, and because its bounded queue discards what paho has acknowledged already. What arrives and
what happens is told to a :class:`Listener`; nothing here waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from uns.adapters.broker_address import BrokerAddress, parse_broker_url, tls_context
from uns.adapters.mqtt.messages import IncomingMessage, Publication

__all__ = ["Listener", "Wire", "make_client", "paho_client_of"]

_DISCONNECT_WITH_WILL, _SESSION_TAKEN_OVER = 0x04, 0x8E  # reason codes of MQTT 5
_NOTHING_SAID = "Unspecified error"  # paho's word for an end of file
_NO_RECEIVE_MAXIMUM = 65_535  # what an MQTT 5 broker that says nothing takes; 3.1.1 has one number fewer for them all
_SESSION_NEVER_EXPIRES = 0xFFFF_FFFF  # s
_PACKETS_PER_READ_MAX = 512  # then other tasks get their turn


class Listener(msgspec.Struct, frozen=True):
    """Who is told, from the loop and at once, of what the wire does."""

    received: Callable[[IncomingMessage], None]
    is_full: Callable[[], bool]  # no more may be read for now; Wire.resume_reading ends that
    was_read: Callable[[], None]  # a turn of reading is over: messages and acknowledgements may have come
    was_written: Callable[[], None]  # all that was handed over has left
    ended: Callable[[str], None]  # the connection is over; may be told more than once


def make_client(
    address: BrokerAddress,
    *,
    client_id: str,
    will: Publication | None,
    clean_session: bool,
    keep_alive_s: int,
    connect_timeout_s: float,
    unacknowledged_messages_max: int,
) -> aiomqtt.Client:
    """A client that is not connected yet. Raises :class:`ConfigurationError` where secrets or files cannot be used."""
    host, port, secure = parse_broker_url(address.url)
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: unacknowledged bytes end a half-open connection
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, keep_alive_s * 1000))
    return aiomqtt.Client(
        host,
        port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5 if address.mqtt5 else aiomqtt.ProtocolVersion.V311,
        username=address.username,
        password=address.password(),
        will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        # MQTT 5: Clean Start, and a session that expires with the connection, which is what nothing said means. One to
        # be kept is to last as with 3.1.1: for as long as the broker is willing.
        properties=None if clean_session or not address.mqtt5 else _kept_session(),
        clean_session=None if address.mqtt5 else clean_session,
        clean_start=clean_session if address.mqtt5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
        keepalive=keep_alive_s,
        timeout=connect_timeout_s,
        tls_context=tls_context(address) if secure else None,
        socket_options=options,
        # 0 opens paho's window: a message that it held back would be overtaken by later QoS 0 ones.
        max_inflight_messages=0,
        max_queued_outgoing_messages=unacknowledged_messages_max,
    )


def _kept_session() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_NEVER_EXPIRES
    return properties


class Wire:
    """A paho client whose socket the running loop reads and writes. Made before the connection is opened.

    While ``corked`` is set, packets are only queued, so that many leave together: who sets it takes it back and calls
    :meth:`write`.
    """

    def __init__(
        self, client: aiomqtt.Client, listener: Listener, *, manual_ack: bool, connect_timeout_s: float
    ) -> None:
        self.paho = paho_client_of(client)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._manual_ack = manual_ack
        self._fileno = -1
        self._received = 0  # messages
        self._reading_paused = False
        self._write_wanted = False
        self._misc_timer: asyncio.TimerHandle | None = None
        self.corked = False
        self.answered = False  # by a CONNACK
        self.refusal = ""  # what paho logs, and tells nobody, of a connection that ends before CONNACK
        self.session_present = False
        self.taken_over = False
        self.connect_sent = False
        self.malformed_topics = 0
        self.receive_maximum = _NO_RECEIVE_MAXIMUM  # QoS 1 messages that the broker takes before it acknowledges one
        self._take_over(connect_timeout_s)

    def _take_over(self, connect_timeout_s: float) -> None:
        """Put our callbacks in the place of aiomqtt's, all through paho's public names."""
        client = self.paho
        client.connect_timeout = connect_timeout_s
        client.disable_logger()
        client.manual_ack_set(self._manual_ack)
        connected: Any = client.on_connect  # paho types them for every version of its callbacks at once
        ended: Any = client.on_disconnect

        def on_log(_client: Any, _userdata: Any, level: Any, text: str) -> None:
            if level == paho.MQTT_LOG_ERR:
                self.refusal = text.removeprefix("failed to receive on socket: ")

        def on_connect(client_: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:
            self.answered = True
            client.on_log = None  # it would cost with every packet
            self.session_present = bool(flags.session_present)
            self.receive_maximum = getattr(properties, "ReceiveMaximum", _NO_RECEIVE_MAXIMUM)
            if connected is not None:
                connected(client_, userdata, flags, reason, properties)

        def on_disconnect(client_: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:
            if getattr(reason, "value", None) == _SESSION_TAKEN_OVER:  # paho tells of one end more than once
                self.taken_over = True
            told = str(reason)
            self._listener.ended("without a word of the broker" if told == _NOTHING_SAID else told)
            if ended is not None:  # aiomqtt waits for it when it leaves; the reason is told by us
                ended(client_, userdata, flags, paho.MQTT_ERR_SUCCESS, properties)

        client.on_log = on_log
        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_message = self._on_message
        client.on_publish = None  # paho builds two objects for each call; the connection looks for itself
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_write_wanted
        client.on_socket_unregister_write = self._on_write_done

    # --- what the connection asks for -----------------------------------------------------------------------------

    def ack(self, message: IncomingMessage) -> None:
        """Write a PUBACK."""
        self.corked = True
        try:
            self.paho.ack(message.mid, message.qos)
        finally:
            self.corked = False
        self.write()

    def disconnect(self, *, with_will: bool) -> None:
        """Write what is queued, then DISCONNECT; ``with_will`` (MQTT 5) has the broker send the Will all the same."""
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_DISCONNECT_WITH_WILL) if with_will else None
        self.corked = True
        try:
            self.paho.disconnect(reason)
        finally:
            self.corked = False
        self.write()

    def cut(self) -> None:
        """End the connection without DISCONNECT."""
        raw = self.paho.socket()
        if raw is None:
            return
        with contextlib.suppress(OSError):
            if isinstance(raw, socket.socket):
                socket.socket.shutdown(raw, socket.SHUT_RDWR)
        # End of file now waits on the socket; reading it lets paho close down by its own rules.
        for _ in range(_PACKETS_PER_READ_MAX):
            if self.paho.socket() is None:
                break
            with contextlib.suppress(Exception):
                self.paho.loop_read()

    def stop_timer(self) -> None:
        """No more keep-alive."""
        if self._misc_timer is not None:
            self._misc_timer.cancel()

    # --- the socket ----------------------------------------------------------------------------------------------

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        # Called by the thread that connects, straight before it sends CONNECT.
        self.connect_sent = True
        self._loop.call_soon_threadsafe(self._start_reading, sock.fileno())

    def _start_reading(self, fileno: int) -> None:
        if self.paho.socket() is None:
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
        client = self.paho
        self.corked = True  # acknowledgements leave together below
        try:
            for _ in range(_PACKETS_PER_READ_MAX):
                before = self._received
                client.loop_read()
                sock = client.socket()
                if sock is None:
                    break
                if self._listener.is_full():
                    self._pause_reading()
                    break
                if self._received == before and not _holds_bytes(sock):
                    break
            else:
                if _holds_bytes(client.socket()):
                    self._loop.call_soon(self._read_if_open)
        except Exception as error:  # noqa: BLE001 - paho lets socket errors of all kinds through
            self._broke(error)
            return
        self.corked = False
        self._listener.was_read()
        if client.socket() is not None and client.want_write():
            self.write()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._fileno > -1:
            self._reading_paused = True
            self._loop.remove_reader(self._fileno)

    def resume_reading(self) -> None:
        """There is room again."""
        if not self._reading_paused:
            return
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
                self.paho.ack(message.mid, message.qos)
            return
        self._received += 1
        self._listener.received(received)

    def _on_write_wanted(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._write_wanted = True
        if not self.corked:  # also called by the thread that connects
            self._loop.call_soon_threadsafe(self._watch_writable, sock)

    def _watch_writable(self, sock: Any) -> None:
        fileno = sock.fileno()
        if self._write_wanted and fileno > -1:
            self._loop.add_writer(fileno, self.write)

    def _on_write_done(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._write_wanted = False
        fileno = sock.fileno()
        if fileno > -1:
            self._loop.remove_writer(fileno)

    def _broke(self, error: Exception) -> None:
        self.corked = False
        self._listener.ended(f"{type(error).__name__}: {error}")
        self.cut()

    def write(self) -> None:
        """Write until the socket is full or all is out."""
        client = self.paho
        self.corked = True
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001 - paho lets socket errors of all kinds through
            self._broke(error)
            return
        self.corked = False
        sock = client.socket()
        if sock is None:
            return
        if client.want_write():
            self._watch_writable(sock)
        else:
            self._listener.was_written()

    def _misc(self) -> None:
        """Keep-alive, once a second."""
        if self.paho.socket() is None:
            return
        self.paho.loop_misc()
        if self.paho.socket() is not None:
            self._misc_timer = self._loop.call_later(1.0, self._misc)


def paho_client_of(client: aiomqtt.Client) -> paho.Client:
    """The one place where a private name of aiomqtt is used; a test fails when an upgrade moves it."""
    return client._client  # noqa: SLF001


def _holds_bytes(sock: Any) -> bool:
    """Whether bytes wait inside a TLS record: they are out of the kernel, so no poll will tell of them."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
