"""The layers of the house and who alone may know which library, as tables. The reason is part of each rule."""

from __future__ import annotations

# Packages by layer, lowest first. A module imports only from its own layer's package or from lower layers.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("uns.errors",),
    ("schemas.sparkplug_b_pb2",),  # the generators beside it are tools: they read the structs of any layer
    ("uns.sparkplug",),
    ("uns.delivery", "uns.source"),
    ("uns.doctor",),
    ("uns.namespace",),
    ("uns.context",),
    ("uns.audit",),
    ("uns.enrichment",),
    ("uns.actuals",),
    ("uns.bridges",),  # mappings: their clients are adapters
    ("uns.adapters",),
    ("uns.runtime",),
    ("uns.cli", "uns.__main__"),
    ("edge_nodes",),
)

CORE = (
    "uns.errors",
    "uns.sparkplug",
    "uns.delivery",
    "uns.source",
    "uns.doctor",
    "uns.namespace",
    "uns.context",
    "uns.audit",
    "uns.enrichment",
    "uns.actuals",
    "uns.bridges",
)
# Protocols of the core that adapters implement with `await`; nothing in them runs.
ASYNC_PORTS = ("uns.source", "uns.bridges.port")
PURE_EDGE = (
    "edge_nodes.reduction",
    "edge_nodes.backlog",
    "edge_nodes.ordinals",
    "edge_nodes.opcua.config",
    "edge_nodes.opcua.mapping",
    "edge_nodes.modbus.config",
    "edge_nodes.modbus.registers",
)

# Processes that know nothing of each other; what both need lies beside them in uns.runtime.
APART = ("uns.runtime.host", "uns.runtime.bridge", "uns.runtime.demo")
WHY_APART = "a host runs without bridges, a bridge beside any host: they meet in the record log and at the broker"
WHY_LAYERS = "imports go down only: a rule that knows its caller cannot be read, tested or replaced alone"
WHY_UNS_ALONE = "uns never imports edge_nodes: a gateway's code (and its PLC libraries) stays off the host, and either side can be replaced"  # noqa: E501

# What the core may not touch at all, with the reason given to whoever tries.
CORE_BANS: dict[str, str] = {
    "asyncio": "the core has no event loop: a two-hour outage is tested in microseconds",
    "socket": "the core has no sockets: adapters do",
    "threading": "the core has no threads: its callers serialise",
    "time": "time is an argument (now_ns): what depends on a clock cannot be replayed",
    "random": "randomness is an argument: a failing seed must fail again",
    "secrets": "randomness is an argument",
    "uuid": "session ids are arguments: drawing one is drawing randomness",
    "logging": "the core says what happened by events; the runtime logs them",
    "structlog": "the core says what happened by events; the runtime logs them",
    "sqlite3": "stores are adapters; the core asks through a port",
    "subprocess": "the core starts nothing",
    "os": "the core knows no machine",
}
# Names inside a banned module that touch nothing, with the reason.
CORE_ALLOWED: dict[str, str] = {
    "uuid.UUID": "a type that OPC UA values have; only drawing one is drawing randomness",
}

# Libraries that stand behind one door each.
ONE_DOOR: dict[str, tuple[tuple[str, ...], str]] = {
    "google.protobuf": (
        ("uns.sparkplug.codec", "schemas"),
        "one codec seam: Sparkplug 4 or a faster codec changes one module",
    ),
    "schemas.sparkplug_b_pb2": (
        ("uns.sparkplug.codec", "schemas"),
        "generated classes are the codec's own; nobody else builds messages",
    ),
    "aiomqtt": (("uns.adapters.mqtt",), "the MQTT port is narrow so that a faster client can stand behind it"),
    "paho": (("uns.adapters.mqtt",), "one accessor into paho, guarded by one test"),
    "amqtt": (("uns.adapters.broker",), "the embedded broker is replaceable; no reliability claim rests on it"),
    "asyncua": (("edge_nodes.opcua.source", "edge_nodes.simulators", "examples"), "asyncua's guards live in one place"),
    "pymodbus": (
        ("edge_nodes.modbus.source", "edge_nodes.simulators", "examples"),
        "pymodbus renames its API between patch releases: one place to mend",
    ),
    "sqlite3": (("uns.adapters.sqlite", "edge_nodes.store"), "transactions are drawn in one place on each side"),
    "aiohttp": (("uns.adapters.http",), "the host's API stands behind one module"),
    "ruamel": (
        ("uns.namespace.yaml_file",),
        "YAML is read safely in one place: no aliases, no tags, no duplicate keys, positions kept",
    ),
    "lxml": (
        ("uns.bridges.b2mml",),
        "XML is read safely in one place: no DTD, no entities, no network, bounds on depth and size",
    ),
    "psycopg": (("uns.adapters.postgres",), "transactions of the target are drawn in one place; tests need no server"),
    "rich": (("uns.cli", "edge_nodes.cli"), "only commands paint"),
    "typer": (("uns.cli", "edge_nodes.cli"), "only commands parse options"),
}
