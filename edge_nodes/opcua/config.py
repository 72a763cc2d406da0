"""The ``kind: opcua`` part of a node file. Pure: it reads fields and finds mistakes, it connects to nothing."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from edge_nodes.wiring import COMMON_KEYS, MetricKey, SourceOptions, WiringReader
from uns.namespace.model import MetricContract
from uns.namespace.yaml_file import Fields

__all__ = [
    "OPCUA_KEYS",
    "NodeAddress",
    "OpcUaConfig",
    "OpcUaPoint",
    "Security",
    "Trigger",
    "parse_node_address",
    "read_opcua",
]

Trigger = Literal["status", "status_value", "status_value_timestamp"]

_NS_PER_MS = 1_000_000
_TRIGGERS: dict[str, Trigger] = {
    "status": "status",
    "status_value": "status_value",
    "status_value_timestamp": "status_value_timestamp",
}
# Basic128Rsa15 and Basic256 are deprecated and left out on purpose.
_POLICIES = {
    "None": "None",
    "Basic256Sha256": "Basic256Sha256",
    "Aes128Sha256RsaOaep": "Aes128Sha256RsaOaep",
    "Aes128_Sha256_RsaOaep": "Aes128Sha256RsaOaep",
    "Aes256Sha256RsaPss": "Aes256Sha256RsaPss",
    "Aes256_Sha256_RsaPss": "Aes256Sha256RsaPss",
}
_MODES = {"Sign": "Sign", "SignAndEncrypt": "SignAndEncrypt"}
_NODE_ADDRESS = re.compile(r"(?:nsu=(?P<uri>.+?);)?(?P<kind>[sigb])=(?P<identifier>.+)", re.DOTALL)
_IDENTIFIERS = {
    "i": re.compile(r"[0-9]{1,10}"),
    "g": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "b": re.compile(r"(?:[0-9a-fA-F]{2})+"),
}


class NodeAddress(msgspec.Struct, frozen=True):
    """An OPC UA node by namespace URI; the index is looked up anew in every session. None is the standard's own."""

    namespace_uri: str | None
    kind: Literal["s", "i", "g", "b"]
    identifier: str

    def __str__(self) -> str:
        prefix = "" if self.namespace_uri is None else f"nsu={self.namespace_uri};"
        return f"{prefix}{self.kind}={self.identifier}"


class OpcUaPoint(msgspec.Struct, frozen=True):
    """One monitored item: a node, or a path of browse names from the root that is followed in every session."""

    contract: MetricContract
    node: NodeAddress | None
    path: tuple[str, ...]

    @property
    def address(self) -> str:
        """As the node file writes it."""
        return str(self.node) if self.node is not None else "/".join(self.path)


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """How the secure channel is made."""

    policy: str = "None"
    mode: str = "SignAndEncrypt"
    trust: Path | None = None  # directory with trusted/ and rejected/
    cert_file: Path | None = None
    key_file: Path | None = None


class OpcUaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One OPC UA server and what is read from it."""

    kind: Literal["opcua"] = "opcua"
    options: SourceOptions
    url: str
    security: Security = Security()
    username: str | None = None
    password_file: Path | None = None
    trigger: Trigger = "status_value"
    sampling_ms: float = 100.0
    publishing_ms: float = 250.0
    queue_size: int = 1_000  # per item, at the server: what a burst or a slow network may pile up
    keep_alive_ms: float = 2_000.0
    timeout_ms: float = 4_000.0
    points: tuple[tuple[MetricKey, OpcUaPoint], ...] = ()


def parse_node_address(text: str) -> NodeAddress:
    """Read ``nsu=urn:plc4;s=R4.Temp`` or ``i=2258``; ``ValueError`` with the next step for anything else."""
    if text.startswith("ns="):
        raise ValueError(
            "namespace indexes change when a server restarts: write nsu=<namespace URI>; in the place of ns=…;"
        )
    match = _NODE_ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError('write it as "nsu=urn:plc4;s=R4.Temp" (s string, i number, g GUID, b hexadecimal bytes)')
    kind, identifier = match["kind"], match["identifier"]
    pattern = _IDENTIFIERS.get(kind)
    if (pattern is not None and pattern.fullmatch(identifier) is None) or (kind == "i" and int(identifier) >= 2**32):
        raise ValueError(f"{identifier!r} is no identifier of kind {kind}=")
    return NodeAddress(match["uri"], kind, identifier)  # type: ignore[arg-type]


def read_opcua(name: str, fields: Fields, wiring: WiringReader, *, directory: Path) -> OpcUaConfig:
    """Read one source; what is wrong becomes a finding and the default stands in."""
    url = fields.text("url", default="")
    if url and not _is_opc_url(url):
        shown = url.rsplit("@", 1)[-1]  # whatever stood before it may be a secret
        fields.findings.error(
            "url", f"{shown!r} is no OPC UA address", fields.position_of("url"), "write opc.tcp://host:4840"
        )
    security = _read_security(fields, url, directory)
    password_file = fields.text("password_file", default=None)
    sampling_ns = fields.duration_ns("sampling", default=100 * _NS_PER_MS)
    publishing_ns = fields.duration_ns("publishing", default=250 * _NS_PER_MS, minimum_ns=10 * _NS_PER_MS)
    return OpcUaConfig(
        options=wiring.options(name, fields),
        url=url,
        security=security,
        username=fields.text("username", default=None),
        password_file=None if password_file is None else directory / password_file,
        trigger=fields.choice("trigger", _TRIGGERS, default="status_value"),
        sampling_ms=sampling_ns / _NS_PER_MS,
        publishing_ms=publishing_ns / _NS_PER_MS,
        queue_size=fields.integer("queue_size", default=1_000, minimum=1, maximum=100_000),
        keep_alive_ms=fields.duration_ns("keep_alive", default=2_000 * _NS_PER_MS, minimum_ns=100 * _NS_PER_MS)
        / _NS_PER_MS,
        timeout_ms=fields.duration_ns("timeout", default=4_000 * _NS_PER_MS, minimum_ns=100 * _NS_PER_MS) / _NS_PER_MS,
        points=tuple(wiring.points(name, fields, keys=("node", "path"), read=_read_point)),
    )


OPCUA_KEYS = (
    *COMMON_KEYS,
    "security",
    "username",
    "password_file",
    "trigger",
    "sampling",
    "publishing",
    "queue_size",
    "keep_alive",
    "timeout",
)


def _read_point(fields: Fields, contract: MetricContract) -> tuple[str, OpcUaPoint] | None:
    if ("node" in fields) == ("path" in fields):
        fields.findings.error(
            "address",
            f"{fields.what} wants either `node:` or `path:`",
            fields.position,
            'such as {node: "nsu=urn:plc4;s=R4.Temp"} or {path: "Objects/Reactor4/Temperature"}',
        )
        return None
    if "path" in fields:
        path = fields.text("path", default=None)
        names = tuple((path or "").split("/"))
        if path is None:
            return None
        if not all(names):
            fields.findings.error(
                "path",
                f"{path!r} has an empty browse name",
                fields.position_of("path"),
                "write it from the root: Objects/Reactor4/Temperature",
            )
            return None
        return path, OpcUaPoint(contract, None, names)
    text = fields.text("node", default=None)
    if text is None:
        return None
    try:
        node = parse_node_address(text)
    except ValueError as error:
        fields.findings.error("node", f"{text!r} is no node address", fields.position_of("node"), str(error))
        return None
    return text, OpcUaPoint(contract, node, ())


def _read_security(fields: Fields, url: str, directory: Path) -> Security:
    known = ("policy", "mode", "trust", "cert_file", "key_file", "insecure")
    security = fields.fields("security", optional=known)
    policy = security.choice("policy", _POLICIES, default="None")
    insecure = security.boolean("insecure", default=False)
    files = {key: security.text(key, default=None) for key in ("trust", "cert_file", "key_file")}
    if policy == "None":
        if not insecure and url and not _is_loopback(url):
            fields.findings.warning(
                "insecure",
                "values and passwords cross the network in the clear",
                fields.position_of("security"),
                "give `security: {policy: Basic256Sha256, …}`, or say `security: {insecure: true}`",
            )
    else:
        for key, value in files.items():
            if value is None:
                fields.findings.error(
                    "security",
                    f"policy {policy} wants `{key}:`",
                    fields.position_of("security"),
                    "without it any server, or nobody, would be believed",
                )
    return Security(
        policy=policy,
        mode=security.choice("mode", _MODES, default="SignAndEncrypt"),
        trust=None if files["trust"] is None else directory / files["trust"],
        cert_file=None if files["cert_file"] is None else directory / files["cert_file"],
        key_file=None if files["key_file"] is None else directory / files["key_file"],
    )


def _is_opc_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
