"""``node.yaml``, the wiring of one gateway, as one frozen configuration, or everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edge_nodes.modbus.config import MODBUS_KEYS, ModbusConfig, read_modbus
from edge_nodes.opcua.config import OPCUA_KEYS, OpcUaConfig, read_opcua
from edge_nodes.store import WhenFull
from edge_nodes.wiring import MetricWiring, WiringReader
from uns.adapters.mqtt import BrokerAddress, parse_broker_url
from uns.adapters.secrets import refuse_readable_by_others
from uns.delivery.edge import Level
from uns.errors import ConfigurationError, LocalProtocolError
from uns.namespace.findings import Finding, Findings, nearest
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.namespace.yaml_file import Fields, parse_yaml, read_text
from uns.sparkplug.edge import WhenHostSilent
from uns.sparkplug.topics import EdgeNodeDescriptor, check_id

__all__ = ["DeliveryConfig", "NodeConfig", "SourceConfig", "StoreConfig", "lint_node", "load_node"]

FORMAT_VERSION = 1
_NS_PER_MS = 1_000_000
_TOP_KEYS = ("tree", "broker", "brokers", "store", "delivery", "primary_host", "primary_host_wait", "when_host_silent")
_BROKER_KEYS = ("url", "ca_file", "cert_file", "key_file", "username", "password_file", "password_env", "mqtt")
BROKERS_MAX = 16
PRIMARY_HOST_WAIT_MS = 30_000
_WHEN_SILENT: dict[str, WhenHostSilent] = {"wait": "wait", "next_broker": "leave", "publish": "publish"}
_LEVELS: dict[str, Level] = {"host": "host", "broker": "broker", "none": "none"}
_WHEN_FULL: dict[str, WhenFull] = {"drop_oldest": "drop_oldest", "drop_newest": "drop_newest"}
_KINDS: dict[str, Literal["opcua", "modbus"]] = {"opcua": "opcua", "modbus": "modbus"}

SourceConfig = OpcUaConfig | ModbusConfig


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where rows wait, how many bytes of them, and what goes when they are more."""

    path: Path
    bytes_max: int = 2_000_000_000
    when_full: WhenFull = "drop_oldest"
    commit_interval_ms: float = 50.0


class DeliveryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who confirms, and how fast history may go."""

    level: Level = "host"
    confirm_host_id: str = "uns-host-1"
    mark_interval_ms: int = 500
    mark_messages_max: int = 200
    confirm_timeout_ms: int = 5_000
    history_metrics_per_second: int = 20_000
    metrics_per_payload_max: int = 500


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway, ready to run."""

    file: Path
    gateway: str
    edge_node: EdgeNodeDescriptor
    tree: TopicTree
    brokers: tuple[BrokerAddress, ...]  # in the order in which they are tried; connected to one at a time
    store: StoreConfig
    delivery: DeliveryConfig
    primary_host: str | None = None
    primary_host_wait_ms: int = PRIMARY_HOST_WAIT_MS
    when_host_silent: WhenHostSilent = "wait"
    sources: tuple[SourceConfig, ...] = ()
    metrics: tuple[MetricWiring, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def broker(self) -> BrokerAddress:
        """The first one."""
        return self.brokers[0]


def load_node(path: Path, *, broker: str | None = None, store: Path | None = None) -> NodeConfig:
    """Read a node file and its tree; :class:`ConfigurationError` with every finding if it cannot be used.

    ``broker`` and ``store`` take the place of what the file says.
    """
    config, findings = _read(Path(path), broker, store)
    if config is None:
        raise ConfigurationError(
            "the node file cannot be used", where=str(path), findings=[str(f) for f in findings.sorted()]
        )
    return config


def lint_node(path: Path) -> list[Finding]:
    """Every error and warning of a node file. Raises only if it, or its tree, cannot be read at all."""
    return _read(Path(path), None, None)[1].sorted()


def _read(path: Path, broker: str | None, store: Path | None) -> tuple[NodeConfig | None, Findings]:
    findings = Findings()
    document = parse_yaml(read_text(path), file=str(path), findings=findings)
    if document.root is None:
        return None, findings
    root = document.fields(required=("uns", "gateway", "sources"), optional=_TOP_KEYS)
    if root.integer("uns", default=FORMAT_VERSION) != FORMAT_VERSION:
        findings.error("version", "this release reads `uns: 1`", root.position_of("uns"))
    directory = path.parent
    gateway = root.text("gateway", default="")
    tree = _tree(root, directory)
    brokers = _brokers(root, directory, broker)
    store_config = _store(root, directory, gateway, store)
    delivery = _delivery(root)
    primary_host = _id(root, "primary_host", "host id", default=None)
    for key in ("primary_host_wait", "when_host_silent"):
        if key in root and "primary_host" not in root:
            findings.error("primary-host", f"{key!r} says nothing without `primary_host:`", root.position_of(key))
    edge_node = None if tree is None or not gateway else _edge_node(root, tree, gateway)
    if tree is None or edge_node is None:
        return None, findings
    wiring = WiringReader(tree, gateway, findings)
    sources = _sources(root, wiring, directory)
    if findings.has_errors:
        return None, findings
    config = NodeConfig(
        file=path,
        gateway=gateway,
        edge_node=edge_node,
        tree=tree,
        brokers=brokers,
        store=store_config,
        delivery=delivery,
        primary_host=primary_host,
        primary_host_wait_ms=_primary_host_wait_ms(root),
        when_host_silent=root.choice("when_host_silent", _WHEN_SILENT, default="leave" if len(brokers) > 1 else "wait"),
        sources=tuple(sources),
        metrics=tuple(wiring.metrics),
        warnings=tuple(findings.sorted()),
    )
    return config, findings


def _tree(root: Fields, directory: Path) -> TopicTree | None:
    text = root.text("tree", default="topic_tree.yaml")
    try:
        return load_tree(directory / text)
    except ConfigurationError as error:
        if error.findings:
            raise
        root.findings.error("tree", str(error), root.position_of("tree"), "`tree:` is relative to the node file")
        return None


def _edge_node(root: Fields, tree: TopicTree, gateway: str) -> EdgeNodeDescriptor | None:
    at = root.position_of("gateway")
    try:
        edge_node = tree.edge_node(gateway)
        check_id(edge_node.group_id, what="group_id")
        check_id(edge_node.edge_node_id, what="edge_node_id")
    except KeyError:
        root.findings.error(
            "unknown-gateway",
            f"no equipment of the tree names gateway {gateway!r}",
            at,
            nearest(gateway, tree.gateways()) or "add it to the `gateways:` of the equipment that it feeds",
        )
        return None
    except LocalProtocolError as error:
        root.findings.error("gateway", str(error), at)
        return None
    return edge_node


def _primary_host_wait_ms(root: Fields) -> int:
    default_ns = PRIMARY_HOST_WAIT_MS * _NS_PER_MS
    return root.duration_ns("primary_host_wait", default=default_ns, minimum_ns=1_000 * _NS_PER_MS) // _NS_PER_MS


def _brokers(root: Fields, directory: Path, override: str | None) -> tuple[BrokerAddress, ...]:
    if "brokers" not in root:
        broker = root.fields("broker", optional=_BROKER_KEYS, what="the broker")
        return (_broker(broker, directory, override),)
    at = root.position_of("brokers")
    if "broker" in root:
        root.findings.error("brokers", "`broker:` and `brokers:` exclude each other", at, "put all into `brokers:`")
    listed = root.each("brokers", required=("url",), optional=_BROKER_KEYS, what="broker")
    if not 1 <= len(listed) <= BROKERS_MAX and not root.findings.has_errors:
        root.findings.error("brokers", f"{len(listed)} brokers", at, f"list 1 to {BROKERS_MAX} of them")
    if override is not None:  # with the credentials of the first: the command line has none
        listed = listed[:1]
    found = tuple(_broker(fields, directory, override) for fields in listed)
    for number, (address, fields) in enumerate(zip(found, listed, strict=True)):
        if any(other.url == address.url for other in found[:number]):
            root.findings.error("brokers", f"{address.url} stands there twice", fields.position_of("url"), "keep one")
    return found


def _broker(broker: Fields, directory: Path, override: str | None) -> BrokerAddress:
    url = override or broker.text("url", default=None)
    if url is None:
        url = "mqtt://127.0.0.1:1883"
    try:
        _, _, secure = parse_broker_url(url)
    except ConfigurationError as error:
        if override is not None:
            raise
        broker.findings.error("url", str(error), broker.position_of("url"))
        secure = True
    texts = {key: broker.text(key, default=None) for key in _BROKER_KEYS if key not in {"url", "mqtt"}}
    for key in ("ca_file", "cert_file", "key_file", "password_file"):
        text = texts[key]
        if text is None:
            continue
        texts[key] = str(directory / text)
        if not (directory / text).is_file():
            broker.findings.error(
                "file", f"there is no file {text!r}", broker.position_of(key), "it is relative to the node file"
            )
    if (texts["cert_file"] is None) != (texts["key_file"] is None):
        broker.findings.error("tls", "`cert_file:` and `key_file:` go together", broker.position)
    if not secure and override is None and any(texts[key] for key in ("ca_file", "cert_file")):
        broker.findings.error(
            "tls", "TLS files are given for a broker without TLS", broker.position_of("url"), "write mqtts://"
        )
    mqtt5 = broker.choice("mqtt", {"3.1.1": False, "5": True}, default=False)
    return BrokerAddress(url=url, mqtt5=mqtt5, **texts)


def _store(root: Fields, directory: Path, gateway: str, override: Path | None) -> StoreConfig:
    store = root.fields("store", optional=("path", "bytes_max", "when_full", "commit_interval"), what="the store")
    path = override or directory / store.text("path", default=f"{gateway or 'edge'}.db")
    if not path.parent.is_dir():
        root.findings.error(
            "store", f"there is no directory {str(path.parent)!r}", store.position_of("path"), "make it first"
        )
    return StoreConfig(
        path=path,
        bytes_max=store.size_bytes("bytes_max", default=2_000_000_000, minimum=1_000_000),
        when_full=store.choice("when_full", _WHEN_FULL, default="drop_oldest"),
        commit_interval_ms=store.duration_ns("commit_interval", default=50 * _NS_PER_MS, maximum_ns=10_000 * _NS_PER_MS)
        / _NS_PER_MS,
    )


def _delivery(root: Fields) -> DeliveryConfig:
    keys = (
        "level",
        "confirm_host_id",
        "mark_interval",
        "mark_messages_max",
        "confirm_timeout",
        "history_metrics_per_second",
        "metrics_per_payload_max",
    )
    delivery = root.fields("delivery", optional=keys, what="the delivery")
    return DeliveryConfig(
        level=delivery.choice("level", _LEVELS, default="host"),
        confirm_host_id=_id(delivery, "confirm_host_id", "host id", default="uns-host-1") or "uns-host-1",
        mark_interval_ms=delivery.duration_ns("mark_interval", default=500 * _NS_PER_MS, minimum_ns=_NS_PER_MS)
        // _NS_PER_MS,
        mark_messages_max=delivery.integer("mark_messages_max", default=200, minimum=1, maximum=100_000),
        confirm_timeout_ms=delivery.duration_ns("confirm_timeout", default=5_000 * _NS_PER_MS, minimum_ns=_NS_PER_MS)
        // _NS_PER_MS,
        history_metrics_per_second=delivery.integer("history_metrics_per_second", default=20_000, minimum=1),
        metrics_per_payload_max=delivery.integer("metrics_per_payload_max", default=500, minimum=1, maximum=10_000),
    )


def _id(fields: Fields, key: str, what: str, *, default: str | None) -> str | None:
    text = fields.text(key, default=default)
    if text is None:
        return None
    try:
        return check_id(text, what=what)
    except LocalProtocolError as error:
        fields.findings.error("id", str(error), fields.position_of(key))
        return default


def _sources(root: Fields, wiring: WiringReader, directory: Path) -> list[SourceConfig]:
    sources: list[SourceConfig] = []
    for entry in root.entries("sources"):
        keys = tuple(dict.fromkeys((*OPCUA_KEYS, *MODBUS_KEYS)))
        fields = root.of(entry, what=f"source {entry.key!r}", required=("kind", "url", "equipment"), optional=keys)
        if fields is None:
            continue
        kind = fields.choice("kind", _KINDS, default=None)
        own = {"opcua": OPCUA_KEYS, "modbus": MODBUS_KEYS}.get(kind or "", keys)
        for other in fields.node.entries.values():
            if other.key in keys and other.key not in own:
                root.findings.error("unknown-key", f"a {kind} source has no {other.key!r}", other.position)
        if kind == "opcua":
            source = read_opcua(entry.key, fields, wiring, directory=directory)
            _look_for_files(source, fields)
            sources.append(source)
        elif kind == "modbus":
            sources.append(read_modbus(entry.key, fields, wiring))
    if not sources and not root.findings.has_errors:
        root.findings.error("no-sources", "the gateway has no sources", root.position_of("sources"), "add one")
    return sources


def _look_for_files(source: OpcUaConfig, fields: Fields) -> None:
    security = source.security
    needed = [
        ("password_file", source.password_file),
        ("security", security.cert_file),
        ("security", security.key_file),
    ]
    for key, file in needed:
        if file is not None and not file.is_file():
            fields.findings.error(
                "file", f"there is no file {str(file)!r}", fields.position_of(key), "it is relative to the node file"
            )
    for key, what, file in (
        ("password_file", "password", source.password_file),
        ("security", "key", security.key_file),
    ):
        if file is None:
            continue
        try:
            refuse_readable_by_others(file, what)
        except ConfigurationError as error:
            fields.findings.error("secret", f"{error.where}: {error.what}", fields.position_of(key), error.next_step)
