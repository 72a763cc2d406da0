"""Brokers that we start ourselves: amqtt inside this process, or mosquitto as a child.

The embedded one is for demo, development and tests on 127.0.0.1. It enforces no keep-alive, hands retained messages to
clients that did not ask for them and delivers QoS 0 at QoS 1: no claim of reliability rests on it. It keeps birth
certificates, as a Sparkplug aware broker does. This is the only module that imports amqtt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import UserDict
from collections.abc import ItemsView, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from amqtt.broker import Broker, BrokerContext
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import ApplicationMessage, Session

from uns.errors import RemoteProtocolError, UnreachableError
from uns.sparkplug.topics import DeviceTopic, MessageType, NodeTopic, is_id_too_long, parse_topic

__all__ = [
    "CERTIFICATES_BYTES_MAX",
    "CERTIFICATES_MAX",
    "CERTIFICATES_TOPIC",
    "BirthCertificates",
    "EmbeddedBroker",
    "MosquittoProcess",
    "find_mosquitto",
    "free_port",
]

CERTIFICATES_TOPIC = "$sparkplug/certificates"
CERTIFICATES_MAX = 10_000
CERTIFICATES_BYTES_MAX = 64 << 20

_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port on loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


class EmbeddedBroker:
    """amqtt on 127.0.0.1, inside the running event loop, as an async context manager."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.certificates: BirthCertificates | None = None  # once it runs
        self._broker: Broker | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"mqtt://{_LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        for name in ("amqtt", "transitions", "websockets"):  # they narrate every packet
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.port == 0:
            self.port = free_port()
        config = BrokerConfig(
            listeners={"default": ListenerConfig(bind=f"{_LOOPBACK}:{self.port}")},
            # Anonymous is allowed because nothing but loopback is bound; $SYS topics are left out because after a
            # client's own $ publish amqtt never sends its Will.
            plugins={
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                f"{__name__}.{BirthCertificates.__name__}": {},
            },
        )
        self._broker = Broker(config)
        self._broker._subscriptions = _Subscriptions()  # noqa: SLF001
        self.certificates = self._broker.plugins_manager.get_plugin(BirthCertificates.__name__)
        try:
            await self._broker.start()
        except Exception as error:
            raise UnreachableError(
                f"the embedded broker does not start: {error}",
                where=self.url,
                next_step="choose another port, or give --broker URL",
            ) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._broker is not None:
            with contextlib.suppress(Exception):  # it trips over sessions that end while it stops
                async with asyncio.timeout(5.0):
                    await self._broker.shutdown()


class _Subscriptions(UserDict[str, object]):
    """amqtt awaits while it walks over its subscriptions; a client that subscribes meanwhile would end another one."""

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.data))

    def items(self) -> ItemsView[str, object]:
        return ItemsView(dict(self.data))


class BirthCertificates(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed for us
    """A plugin of amqtt: every NBIRTH and DBIRTH that passes is kept, retained, under ``$sparkplug/certificates/``.

    tck-id-conformance-mqtt-aware-store, -nbirth-mqtt-topic, -nbirth-mqtt-retain and the same of dbirth.
    Only the broker writes there: amqtt stops listening to a client that publishes on any ``$`` topic, and one whose
    Will lies there is refused here, since Wills pass amqtt's plugins by. For the same reason NDEATH is handed on with
    the timestamp that its node gave it, or none; giving it another is allowed, not asked for
    (tck-id-conformance-mqtt-aware-ndeath-timestamp).
    """

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.certificates_max = CERTIFICATES_MAX
        self.bytes_max = CERTIFICATES_BYTES_MAX
        self.refused = 0  # births that found no room, and stand under no certificate
        self._sizes: dict[str, int] = {}
        self._bytes = 0

    async def authenticate(self, *, session: Session) -> bool | None:
        """Refuse a Will on a topic of the broker's own; say nothing of anybody else."""
        return False if session.will_flag and (session.will_topic or "").startswith("$") else None

    async def on_broker_message_broadcast(self, *, client_id: str, message: ApplicationMessage) -> None:  # noqa: ARG002
        """A message of a client goes out to subscribers; amqtt calls this by its name."""
        payload = bytes(message.data or b"")
        if not payload or not _is_birth(message.topic):
            return
        topic = f"{CERTIFICATES_TOPIC}/{message.topic}"
        before = self._sizes.pop(topic, 0)
        self._bytes -= before
        if len(self._sizes) >= self.certificates_max or self._bytes + len(payload) > self.bytes_max:
            self.refused += 1
            if before:  # an older birth would give wrong aliases: better none
                await self.context.retain_message(topic, b"")
            return
        self._sizes[topic] = len(payload)
        self._bytes += len(payload)
        await self.context.retain_message(topic, payload, message.qos)
        await self.context.broadcast_message(topic, payload, message.qos)


def _is_birth(topic: str) -> bool:
    try:
        parsed = parse_topic(topic)
    except RemoteProtocolError:
        return False
    return (
        isinstance(parsed, NodeTopic | DeviceTopic)
        and parsed.message_type in {MessageType.NBIRTH, MessageType.DBIRTH}
        and not is_id_too_long(topic)
    )


def find_mosquitto() -> str | None:
    """The mosquitto program on this machine, or None. Debian keeps it outside the path of ordinary users."""
    return shutil.which("mosquitto") or next(
        (path for path in ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto") if os.access(path, os.X_OK)), None
    )


class MosquittoProcess:
    """A mosquitto of our own on 127.0.0.1, with a generated configuration in a directory of its own.

    ``settings`` are further lines of the configuration, e.g. ``max_inflight_messages 100``. Both context managers and
    plain ``start``/``stop`` serve, because fault tests kill and restart it on the same port.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        directory: Path | None = None,
        settings: Sequence[str] = (),
        acl: str | None = None,
        listener: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        self._own_directory = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="uns-broker-")) if directory is None else directory
        self.settings = tuple(settings)
        self.acl = acl
        self._listener = tuple(listener)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"mqtt://{_LOOPBACK}:{self.port}"

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self.directory / "mosquitto.log"

    def start(self, *, timeout_s: float = 10.0) -> None:
        """Start and return when it accepts connections; raise :class:`UnreachableError` otherwise."""
        program = find_mosquitto()
        if program is None:
            raise UnreachableError(
                "mosquitto is not installed", next_step="install it (Debian: apt-get install mosquitto)"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        conf = self.directory / "mosquitto.conf"
        conf.write_text(self._configuration(), encoding="utf-8")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a program found above, arguments made here
                [program, "-c", str(conf)], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + timeout_s
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise UnreachableError(
                    "mosquitto does not start",
                    where=str(conf),
                    next_step=f"its log ends with: {self._log_tail()}",
                )
            time.sleep(0.02)

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self.process is None:
            return
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, exc_type, exc, tb)

    def _configuration(self) -> str:
        lines = [
            f"listener {self.port} {_LOOPBACK}",
            *self._listener,
            "log_dest stdout",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "set_tcp_nodelay true",
        ]
        given = {line.split()[0] for line in self.settings}
        # The broker's defaults (20 in flight, 1,000 queued) drop toward a subscriber that is slow for a moment.
        lines += [
            line
            for line in (
                "allow_anonymous true",
                "max_inflight_messages 1000",
                "max_queued_messages 100000",
                "persistence false",
            )
            if line.split()[0] not in given
        ]
        lines += self.settings
        if os.geteuid() == 0:
            # Started by root it would become "mosquitto", who may not read this directory.
            lines.append("user root")
        if self.acl is not None:
            acl_file = self.directory / "acl"
            acl_file.write_text(self.acl, encoding="utf-8")
            acl_file.chmod(0o600)
            lines.append(f"acl_file {acl_file}")
        return "\n".join(lines) + "\n"

    def _accepts(self) -> bool:
        try:
            with socket.create_connection((_LOOPBACK, self.port), timeout=0.2):
                return True
        except OSError:
            return False

    def _log_tail(self) -> str:
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(nothing)"
        return text.strip().rsplit("\n", 1)[-1]
