"""One OPC UA server as a source. The only module of the edge that sees asyncua, and the home of its guards.

* A subscription is taken as whole publish results: asyncua's own per-item handlers cost twice the time, reorder when
  they wait and drop when their queue is full. Our callback waits while the intake is full, asyncua then sends no next
  PublishRequest, and the server's queues hold the values back.
* Every connection is a fresh ``Client``; asyncua's own reconnect is off. It can hang in a blackhole, and comes back
  "connected" without data after a namespace shift.
* A heartbeat (server time) is monitored beside the metrics; silence for three keep-alive intervals ends the session.
* Every wait has a deadline outside the library.
* Namespace URIs and browse paths are resolved anew in every session. What cannot be resolved is one bad metric, and is
  tried again while the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from asyncua import Client, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from edge_nodes.conversion import Refusal
from edge_nodes.opcua.config import NodeAddress, OpcUaConfig, OpcUaPoint, Security
from edge_nodes.opcua.mapping import BAD_NODE_ID_UNKNOWN, ItemPoint, NotificationMapper, convert_variant
from edge_nodes.wiring import MetricKey
from uns.adapters.secrets import Secret
from uns.errors import ConfigurationError, UnreachableError
from uns.runtime.backoff import Backoff
from uns.source import Readings, SourceSink, TimeSource

__all__ = ["OpcUaSource"]

HEARTBEAT_HANDLE = 0
ITEMS_PER_CALL_MAX = 1_000
RETRY_UNRESOLVED_S = 10.0
RECONNECT_MAX_S = 5.0  # a server that is back is asked again within this
SESSION_TIMEOUT_MS = 60_000
CHANNEL_LIFE_MS = 600_000
MESSAGE_BYTES_MAX = 64 * 2**20
REPUBLISH_MAX = 100  # notifications asked for again after one jump
_TRIGGERS = {
    "status": ua.DataChangeTrigger.Status,
    "status_value": ua.DataChangeTrigger.StatusValue,
    "status_value_timestamp": ua.DataChangeTrigger.StatusValueTimestamp,
}
_EXPECTED_ERRORS = (OSError, TimeoutError, ua.UaError, asyncio.IncompleteReadError, ValueError, RuntimeError)

# asyncua logs every failed attempt with its traceback; the source tells each change once, in words.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

_Item = tuple[int, int, OpcUaPoint]  # client handle, metric number, point


class OpcUaSource:
    """Reads one server for as long as it runs."""

    def __init__(self, config: OpcUaConfig, numbers: Mapping[MetricKey, int]) -> None:
        self.name = config.options.name
        self.config = config
        self.items: list[_Item] = [(i, numbers[key], point) for i, (key, point) in enumerate(config.points, start=1)]
        self.mapper = NotificationMapper(
            {handle: ItemPoint(metric, point.contract.datatype) for handle, metric, point in self.items}
        )
        self.log = structlog.get_logger(component="opcua", source=self.name)
        self.connections = self.jumps = self.notifications_lost = 0
        self.unresolved: dict[int, str] = {}  # client handle to the reason, for one log line each

    def counters(self) -> dict[str, int]:
        """What happened on the way from the server."""
        return {
            "connections": self.connections,
            "queue_overflows": self.mapper.overflows,
            "sequence_jumps": self.jumps,
            "notifications_lost": self.notifications_lost,
            "unresolved": len(self.unresolved),
        }

    async def run(self, sink: SourceSink) -> None:
        """Connect, read, and again; until cancelled."""
        backoff = Backoff(max_s=RECONNECT_MAX_S, steady_s=0.0)
        while True:
            try:
                reason = await self._session(sink, backoff)
            except _EXPECTED_ERRORS as error:
                reason = _told(error)
            sink.lost(self.name, reason)
            await asyncio.sleep(backoff.next_s())

    async def check(self) -> list[str]:
        """Connect once and look at every node."""
        client = await self._connect()
        try:
            async with asyncio.timeout(self.deadline_s):
                resolved, failed = await _Resolver(client).resolve(self.items)
                good = [item for item in self.items if item[0] in resolved]
                for start in range(0, len(good), ITEMS_PER_CALL_MAX):
                    chunk = good[start : start + ITEMS_PER_CALL_MAX]
                    nodes = [client.get_node(resolved[handle]) for handle, _, _ in chunk]
                    answers = await client.uaclient.read_attributes(
                        [node.nodeid for node in nodes], ua.AttributeIds.Value
                    )
                    for (handle, _, point), answer in zip(chunk, answers, strict=True):
                        wrong = _wrong_with(answer, point)
                        if wrong:
                            failed[handle] = wrong
            return [
                f"{point.contract.name}: {point.address}: {failed[handle]}"
                for handle, _, point in self.items
                if handle in failed
            ]
        except _EXPECTED_ERRORS as error:
            raise UnreachableError(_told(error), where=self.config.url) from error
        finally:
            await _close(client)

    # ── one session ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline_s(self) -> float:
        """For one exchange as a whole, whatever the library does inside."""
        return 3 * self.config.timeout_ms / 1000 + len(self.items) / 1000

    async def _connect(self) -> Client:
        config = self.config
        client = Client(
            config.url, timeout=config.timeout_ms / 1000, watchdog_intervall=3 * config.keep_alive_ms / 1000
        )
        client.session_timeout = SESSION_TIMEOUT_MS
        client.secure_channel_timeout = CHANNEL_LIFE_MS
        client.max_messagesize = MESSAGE_BYTES_MAX
        client.name = client.description = "uns-edge"
        try:
            if config.username is not None:
                client.set_user(config.username)
            if config.password_file is not None:
                client.set_password(Secret(file=config.password_file).read(section=f"sources.{self.name}"))
            async with asyncio.timeout(self.deadline_s):
                await _secure(client, config.security)
                await client.connect()
        except ConfigurationError as error:  # while it runs: a secret is being replaced, or its rights were
            await _close(client)
            raise UnreachableError(str(error), where=config.url) from error
        except _EXPECTED_ERRORS as error:
            await _close(client)
            raise UnreachableError(
                _told(error), where=config.url, next_step="check the address, the network and that the server runs"
            ) from error
        except BaseException:
            await _close(client)
            raise
        return client

    async def _session(self, sink: SourceSink, backoff: Backoff) -> str:
        try:
            client = await self._connect()
        except UnreachableError as error:
            return error.what
        session = _Session(self, client, sink)
        try:
            async with asyncio.timeout(self.deadline_s):
                await session.subscribe()
            self.connections += 1
            backoff.works()
            sink.connected(self.name)
            return await session.watch()
        finally:
            session.end("closed")
            await _close(client)


class _Session:
    """One subscription on one connection."""

    def __init__(self, source: OpcUaSource, client: Client, sink: SourceSink) -> None:
        self._source = source
        self._config = source.config
        self._client = client
        self._sink = sink
        self._lost = asyncio.Event()
        self._reason = ""
        self._last_answer = time.monotonic()
        self._handing_over = False
        self._next_sequence: int | None = None
        client.connection_lost_callback = self._connection_lost

    async def _connection_lost(self, error: Exception) -> None:
        self.end(_told(error))

    def end(self, reason: str) -> None:
        """The session is over; the first reason counts."""
        self._reason = self._reason or reason
        self._lost.set()

    async def subscribe(self) -> None:
        """Create the subscription, the heartbeat, and an item per metric."""
        config = self._config
        keep_alive_count = max(1, math.ceil(config.keep_alive_ms / config.publishing_ms))
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = config.publishing_ms
        parameters.RequestedMaxKeepAliveCount = keep_alive_count
        parameters.RequestedLifetimeCount = max(3 * keep_alive_count, math.ceil(30_000 / config.publishing_ms))
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        result = await self._client.uaclient.create_subscription(parameters, self._receive)
        self._subscription_id = result.SubscriptionId
        self._keep_alive_s = max(config.keep_alive_ms, keep_alive_count * result.RevisedPublishingInterval) / 1000
        heartbeat = _request(
            HEARTBEAT_HANDLE, ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime), config.keep_alive_ms / 2, 1, None
        )
        await self._create([heartbeat])
        await self._create_items(self._source.items)

    async def _create(self, requests: Sequence[Any]) -> list[Any]:
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = self._subscription_id
        parameters.ItemsToCreate = list(requests)
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        return list(await self._client.uaclient.create_monitored_items(parameters))

    async def _create_items(self, items: Sequence[_Item]) -> None:
        config = self._config
        resolved, failed = await _Resolver(self._client).resolve(items)
        good = [item for item in items if item[0] in resolved]
        for start in range(0, len(good), ITEMS_PER_CALL_MAX):
            chunk = good[start : start + ITEMS_PER_CALL_MAX]
            trigger = ua.DataChangeFilter(Trigger=_TRIGGERS[config.trigger])
            results = await self._create(
                [
                    _request(handle, resolved[handle], config.sampling_ms, config.queue_size, trigger)
                    for handle, _, _ in chunk
                ]
            )
            for (handle, _, _), result in zip(chunk, results, strict=True):
                if not result.StatusCode.is_good():
                    failed[handle] = result.StatusCode.name
        await self._tell_unresolved(items, failed)

    async def _tell_unresolved(self, items: Sequence[_Item], failed: Mapping[int, str]) -> None:
        known = self._source.unresolved
        log = self._source.log
        missing: list[int] = []
        for handle, metric, point in items:
            reason = failed.get(handle)
            if reason is None:
                if known.pop(handle, None) is not None:
                    log.info("metric found again", metric=point.contract.name, address=point.address)
                continue
            missing.append(metric)
            if known.get(handle) != reason:
                known[handle] = reason
                log.warning("metric cannot be read", metric=point.contract.name, address=point.address, reason=reason)
        if missing:
            n = len(missing)
            await self._sink.put(
                Readings(missing, [None] * n, [time.time_ns()] * n, [BAD_NODE_ID_UNKNOWN] * n, TimeSource.GATEWAY)
            )

    async def watch(self) -> str:
        """Until the session ends; gives the reason."""
        retry_at = time.monotonic() + RETRY_UNRESOLVED_S
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_alive_s / 2):
                    await self._lost.wait()
            now = time.monotonic()
            silence = now - self._last_answer
            if silence > 3 * self._keep_alive_s and not self._handing_over:
                self.end(f"nothing heard for {silence:.1f} s")
            unresolved = self._source.unresolved
            if unresolved and now >= retry_at and not self._lost.is_set():
                retry_at = now + RETRY_UNRESOLVED_S
                items = [item for item in self._source.items if item[0] in unresolved]
                async with asyncio.timeout(self._source.deadline_s):
                    await self._create_items(items)
        return self._reason

    # ── what the server publishes ───────────────────────────────────────────────────────────────────────────────

    async def _receive(self, result: Any) -> None:
        """Take one whole publish result. asyncua asks for the next one when this returns."""
        self._handing_over = True
        try:
            message = result.NotificationMessage
            if message.NotificationData:
                await self._check_sequence(int(message.SequenceNumber))
                await self._take(message)
        except Exception as error:  # noqa: BLE001 asyncua would log it and go on as if nothing was lost
            self.end(f"a notification cannot be read: {_told(error)}")
        finally:
            self._handing_over = False
            self._last_answer = time.monotonic()

    async def _take(self, message: Any) -> None:
        for notification in message.NotificationData:
            if isinstance(notification, ua.DataChangeNotification):
                mapper = self._source.mapper
                for readings in mapper.map_items(notification.MonitoredItems or (), now_ns=time.time_ns()):
                    if not self._lost.is_set():  # first values come while items are still being made
                        self._sink.connected(self._source.name)
                    await self._sink.put(readings)
            elif isinstance(notification, ua.StatusChangeNotification):
                self.end(f"the server ended the subscription: {notification.Status.name}")

    async def _check_sequence(self, sequence: int) -> None:
        """Numbers go up by one; what a jump leaves out is asked for again (asyncua does not look)."""
        if sequence == 0:  # numbers begin at 1; a server that shuts down may say so in a message without one
            return
        expected, self._next_sequence = self._next_sequence, sequence % 0xFFFFFFFF + 1
        if expected is None or sequence == expected:
            return
        source = self._source
        source.jumps += 1
        missing = (sequence - expected) % 0xFFFFFFFF
        if missing > 0x7FFFFFFF:  # a number from before: the server repeats itself, nothing is missing
            self._next_sequence = expected
            source.log.warning("publish sequence repeated", expected=expected, got=sequence)
            return
        recovered = 0
        for number in range(expected, expected + min(missing, REPUBLISH_MAX)):
            try:
                async with asyncio.timeout(self._config.timeout_ms / 1000):
                    message = await self._client.uaclient.session.republish(self._subscription_id, number)
            except _EXPECTED_ERRORS:
                break
            await self._take(message)
            recovered += 1
        source.notifications_lost += missing - recovered
        source.log.warning(
            "publish sequence jumped", expected=expected, got=sequence, recovered=recovered, lost=missing - recovered
        )


# ── the secure channel ──────────────────────────────────────────────────────────────────────────────────────────

_POLICIES: dict[str, Any] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128Sha256RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


async def _secure(client: Client, security: Security) -> None:
    """Set policy, own certificate, and whom to believe: without a validator asyncua believes any server."""
    if security.policy == "None":
        return
    assert security.cert_file is not None  # noqa: S101 the configuration was read
    assert security.key_file is not None  # noqa: S101
    assert security.trust is not None  # noqa: S101
    certificate = await uacrypto.load_certificate(security.cert_file)
    with contextlib.suppress(x509.ExtensionNotFound):  # the server will say what it thinks of such a certificate
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        client.application_uri = next(
            iter(names.get_values_for_type(x509.UniformResourceIdentifier)), client.application_uri
        )
    trust = security.trust
    client.certificate_validator = lambda server, _: _believe(server, trust)
    await client.set_security(
        _POLICIES[security.policy],
        security.cert_file,
        security.key_file,
        mode=getattr(ua.MessageSecurityMode, security.mode),
    )


async def _believe(certificate: x509.Certificate, trust: Path) -> None:
    """Accept only what lies in ``trust/trusted``; another server's certificate is put into ``trust/rejected``."""
    thumbprint = certificate.fingerprint(hashes.SHA1())  # noqa: S303 the name OPC UA gives to certificates
    now = datetime.now(UTC)
    for file in sorted((trust / "trusted").glob("*")):
        with contextlib.suppress(ValueError, OSError):
            known = await uacrypto.load_certificate(file)
            if known.fingerprint(hashes.SHA256()) == certificate.fingerprint(hashes.SHA256()):
                if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                    raise ServiceError(ua.StatusCodes.BadCertificateTimeInvalid)
                return
    rejected = trust / "rejected" / f"{thumbprint.hex()}.der"
    with contextlib.suppress(OSError):
        rejected.parent.mkdir(parents=True, exist_ok=True)
        rejected.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    structlog.get_logger(component="opcua").error(
        "server certificate is not trusted",
        subject=certificate.subject.rfc4514_string(),
        file=str(rejected),
        next_step=f"if it is the right server, move the file to {trust / 'trusted'}",
    )
    raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────

_NO_SUCH_NODE = {0x8033, 0x8034, 0x8035}  # BadNodeIdInvalid, BadNodeIdUnknown, BadAttributeIdInvalid
_IDENTIFIERS: dict[str, Callable[[str], Any]] = {"s": str, "i": int, "g": UUID, "b": bytes.fromhex}
_KINDS = {
    "s": ua.NodeIdType.String,
    "i": ua.NodeIdType.Numeric,
    "g": ua.NodeIdType.Guid,
    "b": ua.NodeIdType.ByteString,
}


def _wrong_with(answer: Any, point: OpcUaPoint) -> str:
    """What makes a value that was read unfit for its metric; empty if nothing does."""
    status = answer.StatusCode
    if status is not None and status.value >> 16 in _NO_SUCH_NODE:
        return str(status.name)
    if (status is not None and not status.is_good()) or answer.Value is None or answer.Value.Value is None:
        return ""  # a value that is bad now may be a good one later
    try:
        convert_variant(point.contract.datatype, answer.Value.Value)
    except Refusal as refusal:
        return f"{refusal.reason}: {refusal.text}"
    return ""


class _Resolver:
    """Looks up addresses in one session; what was browsed once is remembered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._children: dict[Any, dict[str, list[Any]]] = {}

    async def resolve(self, items: Sequence[_Item]) -> tuple[dict[int, Any], dict[int, str]]:
        """By client handle: the NodeId, or why there is none."""
        namespaces = {uri: i for i, uri in enumerate(await self._client.get_namespace_array())}
        resolved: dict[int, Any] = {}
        failed: dict[int, str] = {}
        for handle, _, point in items:
            if point.node is not None:
                index = 0 if point.node.namespace_uri is None else namespaces.get(point.node.namespace_uri)
                if index is None:
                    failed[handle] = f"the server has no namespace {point.node.namespace_uri}"
                else:
                    resolved[handle] = _node_id(point.node, index)
                continue
            found = await self._follow(point.path)
            if isinstance(found, str):
                failed[handle] = found
            else:
                resolved[handle] = found
        return resolved, failed

    async def _follow(self, path: Sequence[str]) -> Any:
        node_id: Any = ua.NodeId(ua.ObjectIds.RootFolder)
        for depth, name in enumerate(path, start=1):
            matches = (await self._children_of(node_id)).get(name, [])
            where = "/".join(path[:depth])
            if not matches:
                return f"there is no {where}"
            if len(matches) > 1:
                return f"{len(matches)} nodes are called {where}: give the node id"
            node_id = matches[0]
        return node_id

    async def _children_of(self, node_id: Any) -> dict[str, list[Any]]:
        known = self._children.get(node_id)
        if known is None:
            known = {}
            node = self._client.get_node(node_id)
            for reference in await node.get_references(ua.ObjectIds.HierarchicalReferences, ua.BrowseDirection.Forward):
                same_name = known.setdefault(reference.BrowseName.Name or "", [])
                if reference.NodeId not in same_name:
                    same_name.append(reference.NodeId)
            self._children[node_id] = known
        return known


def _node_id(address: NodeAddress, index: int) -> Any:
    return ua.NodeId(_IDENTIFIERS[address.kind](address.identifier), index, _KINDS[address.kind])


def _request(handle: int, node_id: Any, sampling_ms: float, queue_size: int, trigger: Any) -> Any:
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor.NodeId = node_id
    request.ItemToMonitor.AttributeId = ua.AttributeIds.Value
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters.ClientHandle = handle
    request.RequestedParameters.SamplingInterval = sampling_ms
    request.RequestedParameters.QueueSize = queue_size
    request.RequestedParameters.DiscardOldest = True
    if trigger is not None:
        request.RequestedParameters.Filter = trigger
    return request


async def _close(client: Client) -> None:
    """End a connection whatever state it is in; it is never used again."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1.0):
            await client.disconnect()
    # A disconnect that hung leaves asyncua's own tasks behind.
    for name in ("_supervisor_task", "_stale_watchdog_task", "_renew_channel_task"):
        task = getattr(client, name, None)
        if task is not None:
            task.cancel()
    with contextlib.suppress(Exception):
        client.disconnect_socket()


def _told(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
