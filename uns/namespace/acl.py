"""Who may write and read which topic, from the tree; and how mosquitto is told.

One credential is one MQTT connection: where the broker takes the client id from the credential, nobody can take over
the connection of somebody else, and no credential can be used twice at a time. A credential is the common name (CN) of
a client certificate:

    acme.dallas/gw-energy       an edge node: its Sparkplug descriptor
    uns-host-1                  the host's Sparkplug connection; uns-host-1-out and uns-host-1-facts are its other two
    fact/mes                    a source of facts
    reader/acme.dallas          a consumer of one site, which writes nothing
    bridge/history              a bridge that brings no facts in: it writes the anchor of its audit log

What no grant names is denied. Wills are publications and need the same grants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from uns.delivery.messages import confirm_topic, mark_topic
from uns.errors import ConfigurationError, LocalProtocolError
from uns.namespace.lint import PLC
from uns.namespace.model import TopicTree
from uns.namespace.topics import ROOT, Uns1Topics, audit_topic, dlq_topic, escape, online_topic, unmapped_topic
from uns.sparkplug.state import state_topic
from uns.sparkplug.topics import NAMESPACE, EdgeNodeDescriptor, MessageType, check_id

__all__ = [
    "CREDENTIAL_CHARACTERS_MAX",
    "Bridge",
    "Grant",
    "Reader",
    "access_grants",
    "bridge_credential",
    "fact_credential",
    "host_credentials",
    "parse_bridge",
    "parse_reader",
    "render_mosquitto_acl",
    "render_mosquitto_config",
]

CREDENTIAL_CHARACTERS_MAX = 64  # of a common name in a certificate (X.520, upper bound of commonName)
MQTT_PACKET_BYTES_MAX = (1 << 20) + (1 << 16)  # the largest payload that we read, and its topic

Role = Literal["edge node", "host", "fact source", "reader", "observer", "bridge"]

_WRITTEN_BY_NODE = (MessageType.NBIRTH, MessageType.NDATA, MessageType.NDEATH)
_WRITTEN_BY_DEVICE = (MessageType.DBIRTH, MessageType.DDATA, MessageType.DDEATH)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """All that one credential may do."""

    credential: str
    role: Role
    purpose: str
    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


class Reader(msgspec.Struct, frozen=True):
    """A read-only consumer; without a site it reads every site."""

    credential: str
    site: str | None = None


def parse_reader(text: str) -> Reader:
    """``NAME`` or ``NAME@SITE``; raise :class:`ConfigurationError` for an empty name or site."""
    name, at, site = text.partition("@")
    if not name or (at and not site):
        raise ConfigurationError(f"reader {text!r}", expected="NAME, or NAME@SITE for one site alone")
    return Reader(name, site or None)


class Bridge(msgspec.Struct, frozen=True):
    """A bridge, which writes the anchor of its audit log; with the credential of its source where it states facts."""

    name: str
    source: str | None = None


def parse_bridge(text: str) -> Bridge:
    """``NAME`` or ``NAME@SOURCE``; raise :class:`ConfigurationError` for an empty name or source."""
    name, at, source = text.partition("@")
    if not name or (at and not source):
        raise ConfigurationError(
            f"bridge {text!r}", expected="NAME, or NAME@SOURCE where it states facts as that source"
        )
    return Bridge(name, source or None)


def bridge_credential(name: str) -> str:
    """What a bridge that brings no facts in is called at the broker."""
    return f"bridge/{name}"


def host_credentials(host_id: str) -> tuple[str, str, str]:
    """What the host's three connections are called: Sparkplug, output, facts."""
    return host_id, f"{host_id}-out", f"{host_id}-facts"


def fact_credential(source: str) -> str:
    """What a source of facts is called at the broker."""
    return f"fact/{source}"


def access_grants(
    tree: TopicTree,
    *,
    host_ids: Sequence[str] = ("uns-host-1",),
    readers: Sequence[Reader] | None = None,
    bridges: Sequence[Bridge] = (),
    observers: Sequence[str] = (),
) -> tuple[Grant, ...]:
    """Every credential of a plant with its topics; ``readers=None`` gives each site one called ``reader/{group_id}``.

    Raises :class:`ConfigurationError` where two parties would share a credential, or one cannot stand in a certificate.
    """
    for host_id in host_ids:
        try:
            check_id(host_id, what="host_id")
        except LocalProtocolError as error:
            raise ConfigurationError(str(error)) from error
    if readers is None:
        readers = tuple(Reader(f"reader/{tree.group_id(site)}", site) for site in tree.sites)
    topics = Uns1Topics(tree)
    grants = [
        *(_edge_node(tree, gateway, host_ids) for gateway in tree.gateways()),
        *(grant for host_id in host_ids for grant in _host(tree, host_id)),
        *_fact_sources(tree, topics, bridges),
        *(_bridge(bridge) for bridge in bridges if bridge.source is None),
        *(_reader(tree, reader) for reader in readers),
        *(_observer(tree, name) for name in observers),
    ]
    _check_bridges(tree, host_ids, bridges)
    _check(grants)
    return tuple(grants)


# ── who may what ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _edge_node(tree: TopicTree, gateway: str, host_ids: Sequence[str]) -> Grant:
    """Its own births, data, deaths (the Will is its NDEATH) and marks; commands to it, answers to its marks, STATE.

    It both writes and reads ``_online``, where it finds a second gateway that has its credential. A right to write its
    own NCMD would not do: to ask, it would have to connect, and that ends the connection of the one that is asked.
    Devices are named one by one: those that the tree says it feeds. DCMD is not there because gateways only read.
    """
    edge_node = tree.edge_node(gateway)
    devices = [equipment.id for equipment in tree.fed_by(gateway)]
    return Grant(
        credential=str(edge_node),
        role="edge node",
        purpose=f"gateway {gateway} with {', '.join(devices)}",
        write=(
            *(edge_node.topic(message_type) for message_type in _WRITTEN_BY_NODE),
            *(edge_node.topic(message_type, device) for device in devices for message_type in _WRITTEN_BY_DEVICE),
            mark_topic(edge_node),
            online_topic(edge_node),
            audit_topic(str(edge_node)),
        ),
        read=(
            edge_node.topic(MessageType.NCMD),
            confirm_topic(edge_node),
            online_topic(edge_node),
            audit_topic(str(edge_node)),
            *(state_topic(host_id) for host_id in host_ids),
        ),
    )


def _host(tree: TopicTree, host_id: str) -> Iterator[Grant]:
    """Wildcards stand where a list would grow with the plant: mosquitto reads a list from its top for every message.

    A group is the access boundary, and below it nobody but its own edge nodes may write or read.
    """
    sparkplug, output, facts = host_credentials(host_id)
    groups = [tree.group_id(site) for site in tree.sites]
    nodes = [EdgeNodeDescriptor(group, "+") for group in groups]
    yield Grant(
        credential=sparkplug,
        role="host",
        purpose=f"Sparkplug connection of {host_id}: STATE (its Will too), rebirth requests, answers to marks",
        write=(
            *map(confirm_topic, nodes),
            *(node.topic(MessageType.NCMD) for node in nodes),
            state_topic(host_id),
        ),
        read=(*(f"{NAMESPACE}/{group}/#" for group in groups), *map(mark_topic, nodes), state_topic(host_id)),
    )
    yield Grant(
        credential=output,
        role="host",
        purpose=f"output of {host_id}: ticks, events, state of things, answers to facts, anchor of its audit log",
        write=(
            *(topic for site in tree.sites for topic in _outputs(tree, site)),
            *(unmapped_topic(node, device) for node in nodes for device in (None, "+")),
            dlq_topic("x").removesuffix("x") + "+",
            audit_topic(host_id),
        ),
        read=(audit_topic(host_id),),  # at a start it holds its log against what it said last
    )
    yield Grant(
        credential=facts,
        role="host",
        purpose=f"facts for {host_id}",
        read=tuple(f"{_site(tree, site)}/_fact/+/+" for site in tree.sites),
    )


def _outputs(tree: TopicTree, site: str) -> Iterator[str]:
    """Streams, which are most of the traffic, then the state of things at every depth that the tree has."""
    root = _site(tree, site)
    yield from (f"{root}/_{stream}/#" for stream in ("data", "res", "event"))
    depths = {len(equipment.path) - 2 for equipment in tree.equipment.values() if equipment.site == site}
    for depth in sorted(depths, reverse=True):
        place = root + "/+" * depth
        yield from (f"{place}/{shown}" for shown in ("_pv/+", "_pv", "_ctx", "_meta/+", "_meta", "_health"))
    yield from (f"{root}/{below}" for below in ("_fact_result/+/+", "_wo/+", "_lot/+"))


def _bridge(bridge: Bridge) -> Grant:
    anchor = audit_topic(bridge.name)
    return Grant(
        credential=bridge_credential(bridge.name),
        role="bridge",
        purpose=f"anchor of the audit log of bridge {bridge.name}",
        write=(anchor,),
        read=(anchor,),
    )


def _fact_sources(tree: TopicTree, topics: Uns1Topics, bridges: Sequence[Bridge]) -> Iterator[Grant]:
    """Its own topics and the answers to them, in every site, of the kinds that the tree lets it state.

    A bridge that states facts has one connection, hence one credential: the anchor of its audit log is written with it.

    ``plc`` has none: it speaks through context metrics, and a credential for it could only be misused.
    """
    for source in tree.context.values():
        if source.name == PLC:
            continue
        places = [(site, source.name, kind) for site in tree.sites for kind in source.provides]
        anchors = [audit_topic(bridge.name) for bridge in bridges if bridge.source == source.name]
        yield Grant(
            credential=fact_credential(source.name),
            role="fact source",
            purpose=f"{source.name} states {', '.join(source.provides)}",
            write=(*(topics.fact(*place) for place in places), *anchors),
            read=(*(topics.fact_result(*place) for place in places), *anchors),
        )


def _reader(tree: TopicTree, reader: Reader) -> Grant:
    if reader.site is not None and reader.site not in tree.sites:
        raise ConfigurationError(
            f"reader {reader.credential!r} is of site {reader.site!r}, which the tree does not have",
            expected=f"one of {', '.join(tree.sites)}",
        )
    sites = tuple(tree.sites) if reader.site is None else (reader.site,)
    return Grant(
        credential=reader.credential,
        role="reader",
        purpose=f"reads {', '.join(sites)}, writes nothing",
        read=(*(f"{_site(tree, site)}/#" for site in sites), f"{ROOT}/_audit/+"),
    )


def _observer(tree: TopicTree, name: str) -> Grant:
    """Who watches what gateways and hosts send, such as ``uns doctor``: nobody is disturbed by it."""
    groups = [tree.group_id(site) for site in tree.sites]
    return Grant(
        credential=name,
        role="observer",
        purpose="watches the Sparkplug traffic, writes nothing",
        read=(
            *(f"{NAMESPACE}/{group}/#" for group in groups),
            *(mark_topic(EdgeNodeDescriptor(group, "+")) for group in groups),
            state_topic("x").removesuffix("x") + "+",
        ),
    )


def _site(tree: TopicTree, site: str) -> str:
    return f"{ROOT}/{escape(tree.enterprise)}/{escape(site)}"


def _check_bridges(tree: TopicTree, host_ids: Sequence[str], bridges: Sequence[Bridge]) -> None:
    """Each anchor has one writer, and a source that a bridge speaks for is there."""
    names: set[str] = {*host_ids, *(str(tree.edge_node(gateway)) for gateway in tree.gateways())}
    for bridge in bridges:
        if bridge.name in names:
            raise ConfigurationError(
                f"bridge {bridge.name!r} would write the anchor of another component", next_step="name it otherwise"
            )
        names.add(bridge.name)
        stated = {source.name for source in tree.context.values() if source.name != PLC}
        if bridge.source is not None and bridge.source not in stated:
            raise ConfigurationError(
                f"bridge {bridge.name!r} speaks for {bridge.source!r}, which the tree does not have as a source",
                expected=f"one of {', '.join(sorted(stated))}",
            )


def _check(grants: Sequence[Grant]) -> None:
    """One party a credential, and nothing that would read as another line in a file of lines."""
    findings: list[str] = []
    owners: dict[str, str] = {}
    for grant in grants:
        name = grant.credential
        if name in owners:
            findings.append(f"credential {name!r} would serve two: {owners[name]}; {grant.purpose}")
        owners[name] = grant.purpose
        if len(name) > CREDENTIAL_CHARACTERS_MAX:
            findings.append(
                f"credential {name!r} has {len(name)} characters, the common name of a certificate"
                f" {CREDENTIAL_CHARACTERS_MAX}: shorten the ids"
            )
        if name != name.strip() or any(character in "+#" for character in name):
            findings.append(f"credential {name!r}: no spaces at its ends, no + and # (brokers refuse them)")
        findings += [
            f"{text!r} of {name!r} holds a control character"
            for text in (name, *grant.write, *grant.read)
            if not text.isprintable()
        ]
    if findings:
        raise ConfigurationError("no access list can be made", findings=findings, next_step="rename in the tree")


# ── mosquitto ────────────────────────────────────────────────────────────────────────────────────────────────────────


def render_mosquitto_acl(grants: Sequence[Grant], tree: TopicTree) -> str:
    """The ``acl_file``. mosquitto denies what no line allows; a topic before the first user would be anonymous."""
    lines = [
        f"# mosquitto access list of {tree.enterprise}, contract {tree.contract_hash[:12]} (`uns tree render acl`).",
        "# Deny by default: what no line allows is refused, Wills included. Change the tree, not this file.",
        "# It holds only with the listener that `uns tree render acl --config` prints: user name and client id are",
        "# the common name of the client's certificate.",
    ]
    for grant in grants:
        lines += ["", f"# {grant.role}: {grant.purpose}", f"user {grant.credential}"]
        lines += [f"topic read {topic}" for topic in grant.read]
        lines += [f"topic write {topic}" for topic in grant.write]
    return "\n".join(lines) + "\n"


def render_mosquitto_config(*, port: int = 8883, directory: str = "/etc/mosquitto/uns", address: str = "") -> str:
    """The listener that the access list goes with; ``directory`` holds its files, ``address`` is what it binds."""
    return f"""\
# mosquitto listener rendered by `uns tree render acl --config`; it goes with the access list beside it.
# TLS 1.2 and 1.3; no other listener, or what it lets in is not checked here.
listener {f"{port} {address}".strip()}
cafile {directory}/ca.pem
certfile {directory}/broker.pem
keyfile {directory}/broker.key
require_certificate true

# Who somebody is: the common name of the certificate is the user name, and the client id whatever the client says.
# Both lines belong to the listener: above it they do nothing.
use_identity_as_username true
use_username_as_clientid true

allow_anonymous false
acl_file {directory}/acl

# A larger packet ends its connection; nothing of ours is larger.
max_packet_size {MQTT_PACKET_BYTES_MAX}
# The defaults (20 in flight, 1000 queued) drop toward a subscriber that is slow for a moment.
max_inflight_messages 1000
max_queued_messages 100000
set_tcp_nodelay true
"""
