"""``uns host run`` and ``uns host status``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from uns.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_TREE,
    BrokerOption,
    CaFileOption,
    CertFileOption,
    JsonOption,
    KeyFileOption,
    MqttOption,
    PasswordEnvOption,
    PasswordFileOption,
    TreeOption,
    UsernameOption,
    broker_address,
)
from uns.cli.output import print_document

__all__ = ["ApiOption", "register"]

ApiOption = Annotated[
    str,
    typer.Option(
        "--host-api", envvar="UNS_HOST_API", help="Where the host answers: unix:/path/host.sock or 127.0.0.1:PORT."
    ),
]
_ORDERS_LEFT_OUT = ("waiting", "beyond_horizon", "beyond_bound", "too_large", "forgotten_jobs", "failures")
DEFAULT_STORE = Path("var/host")
DEFAULT_API = f"unix:{DEFAULT_STORE}/host.sock"

RUN_HELP = """Run the host: receive Sparkplug, join it with context, record it, publish uns1/… topics.

It waits for a broker that is not there yet, and ends on SIGTERM or Ctrl-C after it has drained (at most 10 s).

Examples:

  uns host run --tree topic_tree.yaml --broker mqtt://127.0.0.1:1883 --store var/host

  uns host run --broker mqtts://broker.example:8883 --ca-file ca.pem --username uns-host-1 --password-file secret

  uns host run --broker mqtts://broker.example:8883 --ca-file ca.pem \\
      --cert-file certificates/{connection}.pem --key-file certificates/{connection}.key

The host has three connections. A broker that binds the client id to the credential lets a credential in once:
{connection} in files and user name stands for HOST_ID, HOST_ID-out and HOST_ID-facts.
"""

STATUS_HELP = """Show what the host receives, records and publishes, with every term of the equations.

Examples:

  uns host status

  uns host status --json --host-api 127.0.0.1:8088
"""


def register(app: typer.Typer) -> None:
    """Add ``uns host``."""
    host = typer.Typer(no_args_is_help=True, help="The enricher: Sparkplug host, context engine, logs and API.")
    host.command("run", help=RUN_HELP)(run)
    host.command("status", help=STATUS_HELP)(status)
    app.add_typer(host, name="host")


def run(  # noqa: PLR0917 - one parameter an option
    tree: TreeOption = DEFAULT_TREE,
    broker: BrokerOption = DEFAULT_BROKER,
    store: Annotated[
        Path, typer.Option("--store", envvar="UNS_STORE", help="The directory of raw.db and records.db.")
    ] = DEFAULT_STORE,
    host_id: Annotated[str, typer.Option("--host-id", help="Sparkplug host id; edge nodes confirm to it.")] = (
        "uns-host-1"
    ),
    api: Annotated[
        str | None, typer.Option("--api", help="Where to answer the CLI; host.sock in the store by default.")
    ] = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
    mqtt: MqttOption = "3.1.1",
    raw_retention: Annotated[str, typer.Option(help="How long joined raw messages are kept: 12h, 7d.")] = "7d",
    raw_bytes_max: Annotated[str, typer.Option(help="Bound of raw.db; joined messages make room: 2GB.")] = "2GB",
    record_bytes_max: Annotated[str | None, typer.Option(help="Bound of records.db; none by default.")] = None,
    reorder_timeout: Annotated[
        str, typer.Option(help="How long a missing message is waited for before a rebirth is asked for: 500ms, 5s.")
    ] = "5s",
    rebirths_per_second: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Rebirth requests a second, over all nodes. 0: look on beside another host."
        ),
    ] = 10,
    accept_compressed: Annotated[
        bool,
        typer.Option("--accept-compressed", help="Read compressed payloads (of 1 MiB at most)."),
    ] = False,
    accept_nanoseconds: Annotated[
        bool, typer.Option("--accept-nanoseconds", help="Read timestamps that can only be ns.")
    ] = False,
    unlimited_time: Annotated[
        bool, typer.Option("--unlimited-time", help="Believe every source time (replays of the past).")
    ] = False,
    stats_json: Annotated[Path | None, typer.Option(help="Write the last status there when it ends.")] = None,
    anchor_file: Annotated[
        Path | None, typer.Option("--anchor-file", help="Keep the anchor of the audit log in this file too.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """See RUN_HELP."""
    from uns.adapters.http import parse_api_address
    from uns.adapters.logs import configure_logs
    from uns.errors import ConfigurationError, LocalProtocolError
    from uns.runtime.host.options import REORDER_TIMEOUT_MS_MAX, HostOptions, parse_duration_ns, parse_size
    from uns.runtime.host.process import run_host
    from uns.sparkplug.topics import check_id

    if log_level not in {"debug", "info", "warning", "error"}:
        raise ConfigurationError(f"--log-level {log_level!r}", expected="debug, info, warning or error")
    configure_logs(as_json=log_json, level=log_level)
    try:
        check_id(host_id, what="host_id")
    except LocalProtocolError as error:  # here it is an option, not a bug
        raise ConfigurationError(error.what, where="--host-id", expected=error.expected) from error
    reorder_timeout_ms = parse_duration_ns(reorder_timeout) // 1_000_000
    if not 1 <= reorder_timeout_ms <= REORDER_TIMEOUT_MS_MAX:
        raise ConfigurationError(f"--reorder-timeout {reorder_timeout!r}", expected="1ms to 10m")
    options = HostOptions(
        tree=tree,
        broker=broker_address(
            broker,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            username=username,
            password_file=password_file,
            password_env=password_env,
            mqtt=mqtt,
        ),
        store=store,
        host_id=host_id,
        api=api,
        raw_retention_ns=parse_duration_ns(raw_retention),
        raw_bytes_max=parse_size(raw_bytes_max),
        record_bytes_max=None if record_bytes_max is None else parse_size(record_bytes_max),
        stats_file=stats_json,
        anchor_file=anchor_file,
        reorder_timeout_ms=reorder_timeout_ms,
        rebirths_per_second_max=rebirths_per_second,
        unlimited_time=unlimited_time,
        accept_compressed=accept_compressed,
        accept_nanoseconds=accept_nanoseconds,
    )
    parse_api_address(options.api_address)
    run_host(options)


def status(host_api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """See STATUS_HELP."""
    from uns.adapters.http import get_json

    found: dict[str, Any] = asyncio.run(get_json(host_api, "/status"))
    if as_json:
        print_document(found)
        return
    _print_status(found)


def _print_status(found: dict[str, Any]) -> None:
    links = {"broker": "connected", "output": "output_connected", "facts": "facts_connected"}
    states = ", ".join(f"{name} {'connected' if found[key] else 'NOT CONNECTED'}" for name, key in links.items())
    print(f"host {found['host_id']} of {found['enterprise']}: {states}")
    for part, text in found["troubles"].items():
        print(f"  ! {part}: {text}")
    print()
    print(f"{'edge node':32} {'state':10} {'received':>12} {'recorded':>12} {'rejected':>9} {'unmapped':>9}")
    for node in found["edge_nodes"]:
        name = f"{node['group_id']}/{node['edge_node_id']}"
        numbers = f"{node['received']:>12} {node['recorded']:>12} {node['rejected']:>9} {node['unmapped']:>9}"
        print(f"{name:32} {node['state']:10} {numbers}")
        if trouble := _trouble(node):
            print(f"  ! {trouble}")
    print()
    c = found["counters"]
    print(
        f"received {c['received']} = recorded {c['recorded']} + duplicates_dropped {c['duplicates_dropped']} "
        f"+ rejected {c['rejected']} + unmapped {c['unmapped']} + unjoined {c['unjoined']}"
    )
    print(
        f"recorded {c['recorded']} = resolved {c['resolved']} + unassigned {c['unassigned']} "
        f"+ unresolved {c['unresolved']}"
    )
    log = found["log"]
    print(
        f"raw log {log['raw_head']}, joined {log['joined']}, outbox {log['outbox_waiting']}, "
        f"restated intervals {c['restated_intervals']}"
    )
    print(_orders(found["orders"]))


_REASONS = {
    "held": "it has not spoken since this host started",
    "ndeath": "it stopped, or lost its connection (ndeath)",
}


def _trouble(node: dict[str, Any]) -> str:
    """What somebody who is called at night has to know of an edge node; "" where it is well."""
    if not node["online"]:
        if node["since"] is None:
            return "not heard of since this host started: is it running, and does it reach the broker?"
        reason = _REASONS.get(node["reason"], node["reason"])
        return f"since {node['since']}" + (f": {reason}" if reason else "")
    silent = ", ".join(node["not_heard"])
    return f"nothing comes from {silent}: `uns-edge check` there says which source does not answer" if silent else ""


def _orders(orders: dict[str, Any]) -> str:
    left_out = [f"{orders[name]} {name.replace('_', ' ')}" for name in _ORDERS_LEFT_OUT if orders.get(name)]
    text = f"orders and lots: {orders.get('topics', 0)} shown" + (f"; {', '.join(left_out)}" if left_out else "")
    return f"{text}\n  ! {orders['trouble']}" if orders.get("trouble") else text
