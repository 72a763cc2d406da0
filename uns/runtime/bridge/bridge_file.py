"""``bridge.yaml`` read: a configuration, or everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from uns.adapters.broker_address import BrokerAddress, parse_broker_url
from uns.adapters.secrets import read_secret
from uns.bridges.rules import RetryPolicy
from uns.errors import ConfigurationError
from uns.namespace.findings import Findings
from uns.namespace.yaml_file import Fields, parse_yaml, read_text
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.kinds import KINDS, load_kind
from uns.runtime.bridge.runner import RunnerLimits

__all__ = ["lint_bridge", "load_bridge"]

FORMAT_VERSION = 1
_SECOND_NS = 1_000_000_000
_TOP_KEYS = (
    "store", "retry", "rate", "dry_run", "grace", "batch", "broker", "tree", "audit",
)  # fmt: skip
_NAME_CHARACTERS_MAX = 64


def load_bridge(path: Path) -> BridgeConfig:
    """Read a bridge file; :class:`ConfigurationError` with every finding if it cannot be used."""
    config, findings = _read(Path(path))
    if config is None:
        raise ConfigurationError(
            "the bridge file cannot be used", where=str(path), findings=[str(f) for f in findings.sorted()]
        )
    return config


def lint_bridge(path: Path) -> list[str]:
    """Every finding of a bridge file as a line."""
    return [str(finding) for finding in _read(Path(path))[1].sorted()]


def _read(path: Path) -> tuple[BridgeConfig | None, Findings]:
    findings = Findings()
    document = parse_yaml(read_text(path), file=str(path), findings=findings)
    if document.root is None:
        return None, findings
    root = document.fields(required=("uns", "bridge", "kind", "host", "target"), optional=_TOP_KEYS)
    if root.integer("uns", default=FORMAT_VERSION) != FORMAT_VERSION:
        findings.error("version", "this release reads `uns: 1`", root.position_of("uns"))
    directory = path.parent
    name = _name(root)
    kind = root.choice("kind", {word: word for word in KINDS}, default=None)
    host = root.fields("host", required=("store",), what="the host")
    store = root.fields("store", optional=("path", "bytes_max", "keep_delivered"), what="the store")
    found = None if kind is None else load_kind(kind)
    target, section = None, root
    if found is not None:
        section = root.fields(
            "target", required=found.target_required, optional=found.target_optional, what="the target"
        )
        target = found.read_target(section, directory)
    broker = _broker(root, directory)
    tree = root.text("tree", default=None)
    anchor = root.fields("audit", optional=("anchor",), what="audit").text("anchor", default=None)
    config = BridgeConfig(
        file=path,
        name=name,
        kind=kind or "",
        host_store=directory / host.text("store", default="."),
        store=directory / store.text("path", default=f"{name or 'bridge'}.bridge.db"),
        store_bytes_max=store.size_bytes("bytes_max", default=1_000_000_000, minimum=1_000_000),
        target=target,
        retry=_retry(root),
        limits=RunnerLimits(
            positions_max=root.integer("batch", default=20_000, minimum=1, maximum=1_000_000),
            items_per_second=root.number("rate", default=None, minimum=0.001, maximum=100_000),
            keep_delivered_ns=store.duration_ns("keep_delivered", default=30 * 86_400 * _SECOND_NS),
        ),
        grace_ns=root.duration_ns("grace", default=300 * _SECOND_NS),
        dry_run=root.boolean("dry_run", default=False),
        broker=broker,
        tree=None if tree is None else directory / tree,
        anchor_file=None if anchor is None else directory / anchor,
    )
    if found is not None and found.lint is not None:
        found.lint(config, root, section)
    return (None if findings.has_errors else config), findings


def _name(root: Fields) -> str:
    name = root.text("bridge", default="")
    fine = name.replace("-", "").replace("_", "").isalnum() and name.isascii() and len(name) <= _NAME_CHARACTERS_MAX
    if name and not fine:
        root.findings.error(
            "name",
            f"{name!r} cannot name a bridge",
            root.position_of("bridge"),
            f"letters, digits, - and _, at most {_NAME_CHARACTERS_MAX}",
        )
    return name


def _retry(root: Fields) -> RetryPolicy:
    retry = root.fields("retry", optional=("first", "max", "attempts", "auth"), what="retry")
    usual = RetryPolicy()
    first_ns = retry.duration_ns("first", default=usual.first_ns, minimum_ns=1_000_000)
    max_ns = retry.duration_ns("max", default=usual.max_ns, minimum_ns=1_000_000)
    if max_ns < first_ns:
        root.findings.error(
            "retry", "`max` is shorter than `first`", retry.position_of("max"), "make it at least as long"
        )
    return RetryPolicy(
        first_ns=first_ns,
        max_ns=max_ns,
        attempts_max=retry.integer("attempts", default=usual.attempts_max, minimum=1, maximum=1000),
        auth_retry_ns=retry.duration_ns("auth", default=usual.auth_retry_ns, minimum_ns=_SECOND_NS),
    )


def _broker(root: Fields, directory: Path) -> BrokerAddress | None:
    if "broker" not in root:
        return None
    files = ("ca_file", "cert_file", "key_file")
    broker = root.fields(
        "broker",
        required=("url",),
        optional=(*files, "username", "password", "password_file", "password_env"),
        what="the broker",
    )
    url = broker.text("url", default="mqtt://127.0.0.1:1883")
    secure = True
    try:
        _, _, secure = parse_broker_url(url)
    except ConfigurationError as error:
        root.findings.error("broker", error.what, broker.position_of("url"), f"expected {error.expected}")
    places = {key: broker.text(key, default=None) for key in files}
    found = {key: None if place is None else str(directory / place) for key, place in places.items()}
    if (places["cert_file"] is None) != (places["key_file"] is None):
        root.findings.error("tls", "`cert_file:` and `key_file:` go together", broker.position)
    if not secure and any(places.values()):
        root.findings.error(
            "tls", "TLS files are given for a broker without TLS", broker.position_of("url"), "write mqtts://"
        )
    secret = read_secret(broker, directory)
    return BrokerAddress(
        url=url,
        username=broker.text("username", default=None),
        password_file=None if secret.file is None else str(secret.file),
        password_env=secret.variable,
        ca_file=found["ca_file"],
        cert_file=found["cert_file"],
        key_file=found["key_file"],
    )
