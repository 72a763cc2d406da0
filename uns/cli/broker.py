"""``uns broker``: a broker on this machine, to try things out; ``uns broker check``: what any broker is good for."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from uns.cli.options import (
    CaFileOption,
    CertFileOption,
    JsonOption,
    KeyFileOption,
    PasswordEnvOption,
    PasswordFileOption,
    UsernameOption,
    broker_address,
)
from uns.cli.output import EXIT_FINDINGS, print_document
from uns.errors import ConfigurationError, LocalProtocolError

__all__ = ["register"]

BROKER_HELP = """Run a broker on 127.0.0.1 until Ctrl-C, for development and trying things out.

The embedded one needs nothing installed and keeps nothing; a plant runs mosquitto, EMQX or HiveMQ. `uns broker check`
probes any broker.

Examples:

  uns broker

  uns broker --kind mosquitto --port 1884
"""
CHECK_HELP = """Probe what Sparkplug and this product need of a broker.

Wills, takeover by the same client id, keep-alive, MQTT 5, $share, spaces, retained, rights, queues, sizes, order.

It writes on topics of its own, uns-probe/…, and clears them. Exit code 1 if a probe fails, 0 if one only warns, 3 if
the broker does not answer. Without a URL it starts a broker of its own and restarts it, too.

Examples:

  uns broker check mqtt://broker.example:1883

  uns broker check mqtts://broker.example --ca-file ca.pem --cert-file gw.pem --key-file gw.key --as acme.dallas/gw-1

  uns broker check --kind mosquitto --json
"""
_KINDS = ("embedded", "mosquitto")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(help=BROKER_HELP)
    commands.callback(invoke_without_command=True, help=BROKER_HELP)(broker)
    commands.command("check", help=CHECK_HELP)(check)
    app.add_typer(commands, name="broker")


def broker(
    context: typer.Context,
    kind: Annotated[str, typer.Option(help="embedded or mosquitto.")] = "embedded",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free port.")] = 1883,
) -> None:
    """See BROKER_HELP."""
    if context.invoked_subcommand is not None:
        return
    from uns.runtime.broker import serve_broker

    if kind not in _KINDS:
        raise ConfigurationError(f"--kind {kind!r}", expected=" or ".join(_KINDS))
    asyncio.run(serve_broker("mosquitto" if kind == "mosquitto" else "embedded", port=port, ready=_tell))


def check(  # noqa: PLR0917 - one parameter an option
    url: Annotated[str | None, typer.Argument(help="mqtt://host[:port] or mqtts://host[:port].")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="In place of a URL: start and probe an own one, embedded or mosquitto.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--as", help="GROUP/NODE: probe the topics of this gateway with its credential. Stop it before."),
    ] = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
    as_json: JsonOption = False,
) -> None:
    """See CHECK_HELP."""
    from uns.runtime.broker_check.check import check_broker, check_own_broker
    from uns.runtime.broker_check.probing import CheckReport

    if (url is None) == (kind is None):
        raise ConfigurationError("which broker?", expected="either its URL, or --kind embedded or mosquitto")
    if kind is not None and kind not in _KINDS:
        raise ConfigurationError(f"--kind {kind!r}", expected=" or ".join(_KINDS))
    report: CheckReport
    if url is None:
        if node is not None:
            raise ConfigurationError("--as with a broker of our own", expected="the URL of the plant's broker")
        own = check_own_broker("mosquitto" if kind == "mosquitto" else "embedded", tell=_say)
        report = asyncio.run(own)
    else:
        address = broker_address(
            url,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            username=username,
            password_file=password_file,
            password_env=password_env,
        )
        report = asyncio.run(check_broker(address, node=_parse_node(node), tell=_say))
    if as_json:
        print_document(report)
    else:
        _print_check(report)
    if report.verdict == "fails":
        raise typer.Exit(EXIT_FINDINGS)


def _parse_node(text: str | None) -> tuple[str, str] | None:
    from uns.sparkplug.topics import check_id

    if text is None:
        return None
    group, slash, name = text.partition("/")
    try:
        return check_id(group, what="group_id"), check_id(name if slash else "", what="edge_node_id")
    except LocalProtocolError as error:
        raise ConfigurationError(f"--as {text!r}", expected="GROUP/NODE, such as acme.dallas/gw-1") from error


def _print_check(report: object) -> None:
    from uns.runtime.broker_check.probing import CheckReport

    assert isinstance(report, CheckReport)  # noqa: S101 - imported late, for a quick `uns broker`
    words = {"fails": "FAILS", "warns": "warns", "ok": "ok", "not_probed": "-"}
    for found in report.probes:
        print(f"{words[found.verdict]:6} {found.title}: {found.seen}")
        if found.means:
            print(f"         means: {found.means}")
        if found.next_step and found.next_step != "none":
            print(f"         next:  {found.next_step}")
    if report.mqtt_5:
        print(f"the broker says of itself: {', '.join(f'{name} {value}' for name, value in report.mqtt_5.items())}")
    counts = {verdict: sum(found.verdict == verdict for found in report.probes) for verdict in words}
    print(
        f"{report.broker}: {counts['ok']} ok, {counts['warns']} warn, {counts['fails']} fail, "
        f"{counts['not_probed']} not probed, in {report.seconds:g} s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell(url: str) -> None:
    print(f"broker at {url}; Ctrl-C ends it", flush=True)
