"""``uns doctor``: what breaks the standard in the live traffic of a broker, whose nodes they may be."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from uns.cli.options import (
    DEFAULT_BROKER,
    BrokerOption,
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
from uns.doctor.report import Finding, HostReport, NodeReport, Report, RequirementReport, SubjectReport
from uns.errors import ConfigurationError

__all__ = ["print_report", "register"]

HELP = """Watch the Sparkplug traffic of a broker and grade it against the requirements of the standard.

Any vendor's nodes. It only listens; --rebirth alone makes it ask nodes for their births. Exit code 1 if a MUST is
broken, 0 if only a SHOULD is, 3 if the broker does not answer.

Examples:

  uns doctor

  uns doctor --broker mqtt://broker.example:1883 --seconds 120 --rebirth

  uns doctor --group acme.dallas --requirements

  uns doctor --json
"""
SECONDS_MAX = 7 * 24 * 3600


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=HELP)(doctor)


def doctor(  # noqa: PLR0917 - one parameter an option
    broker: BrokerOption = DEFAULT_BROKER,
    seconds: Annotated[float, typer.Option("--seconds", help="How long to watch.")] = 30.0,
    group: Annotated[list[str] | None, typer.Option("--group", help="Only this group; may be repeated.")] = None,
    rebirth: Annotated[
        bool, typer.Option("--rebirth", help="Ask each node whose births were not seen for a rebirth, once.")
    ] = False,
    requirements: Annotated[
        bool, typer.Option("--requirements", help="List all 299 ids with their verdicts, too.")
    ] = False,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    password_env: PasswordEnvOption = None,
    as_json: JsonOption = False,
) -> None:
    """See HELP."""
    from uns.runtime.doctor import Watch, watch_broker

    if not 0 < seconds <= SECONDS_MAX:
        raise ConfigurationError(f"--seconds {seconds:g}", expected=f"more than 0, at most {SECONDS_MAX}")
    for name in group or ():
        if not name or any(c in name for c in "+/#\0"):
            raise ConfigurationError(f"--group {name!r}", expected="a group id: no + / # in it")
    address = broker_address(
        broker,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username=username,
        password_file=password_file,
        password_env=password_env,
    )
    watch = Watch(address=address, seconds=seconds, groups=tuple(group or ()), ask_rebirth=rebirth)
    report = asyncio.run(watch_broker(watch, tell=lambda text: print(text, file=sys.stderr, flush=True)))
    if as_json:
        print_document(report)
    else:
        print_report(report, requirements=requirements)
    if report.verdict == "broken":
        raise typer.Exit(EXIT_FINDINGS)


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def print_report(report: Report, *, requirements: bool = False) -> None:
    """Worst first, each finding with what to do next; then everything that is well in a line each."""
    traffic = report.traffic
    print(
        f"{report.broker}: {_count(traffic.messages, 'message')} in {report.seconds:.0f} s "
        f"({traffic.messages_per_second:g}/s), {traffic.retained:,} kept by the broker, "
        f"{_count(len(report.nodes), 'edge node')}, {_count(len(report.hosts), 'host')}"
    )
    nodes = {node.edge_node: node for node in report.nodes}
    for subject in report.subjects:
        _print_subject(subject, nodes.get(subject.subject))
    named = {subject.subject for subject in report.subjects}
    well = [node for node in report.nodes if node.edge_node not in named]
    if well:
        print()
    for node in well:
        text = "keeps what could be seen" if node.messages else "sent nothing in this time"
        print(f"{node.edge_node}  {text}  {_node_line(node)}")
        _print_notes(node.notes)
    for host in report.hosts:
        print(f"host {host.sparkplug_host_id}  {host.state}{_host_line(host)}")
        _print_notes(host.notes)
    if report.notes:
        print()
        _print_notes(report.notes)
    if requirements:
        print()
        for requirement in report.requirements:
            print(_requirement_line(requirement))
    print()
    print(_sum(report))


def _print_subject(subject: SubjectReport, node: NodeReport | None) -> None:
    broken = [f"{subject.musts} MUST" if subject.musts else "", f"{subject.shoulds} SHOULD" if subject.shoulds else ""]
    line = f"{subject.subject}  {'BREAKS' if subject.musts else 'warned:'} {', '.join(text for text in broken if text)}"
    print()
    print(line + (f"  {_node_line(node)}" if node else ""))
    for finding in subject.findings:
        _print_finding(finding)
    if node is not None:
        _print_notes(node.notes)


def _print_finding(finding: Finding) -> None:
    often = f", {finding.count:,} times until message {finding.last_message}" if finding.count > 1 else ""
    where = f"message {finding.message} at {finding.time}" if finding.message else "found over the whole watch,"
    print(f"  {finding.level:6} {finding.message_type}: {finding.seen}; expected {finding.expected}")
    print(f"         {where} on {finding.topic}{often}")
    print(f"         {', '.join(finding.tck_ids) or 'no tck-id of its own: the standard takes it for granted'}")
    print(f"         next: {finding.next_step}")


def _print_notes(notes: list[str]) -> None:
    for note in notes:
        print(f"  note   {note}")


def _node_line(node: NodeReport) -> str:
    devices = f", {node.devices_online} of {_count(node.devices, 'device')} online" if node.devices else ""
    messages = _count(node.messages, "message")
    return f"({node.state}{devices}, {messages}, {node.messages_per_second:g}/s)"


def _host_line(host: HostReport) -> str:
    return f" since timestamp {host.timestamp}" if host.timestamp is not None and host.state == "online" else ""


def _requirement_line(requirement: RequirementReport) -> str:
    match requirement.verdict:
        case "ok":
            text = f"seen ok {requirement.ok:,} times"
        case "broken":
            text = f"BROKEN {requirement.broken:,} times, ok {requirement.ok:,} times"
        case "not_seen":
            text = "not seen in this time"
        case _:
            text = f"cannot be seen from outside: {requirement.why}"
    return f"{requirement.level:6} {requirement.tck_id}: {text}"


def _sum(report: Report) -> str:
    totals = report.totals
    return (
        f"of {len(report.requirements)} requirements: {totals.ok} seen ok, {totals.broken_must} MUST and "
        f"{totals.broken_should} SHOULD broken, "
        f"{totals.not_seen} not seen in this time, {totals.not_visible} cannot be seen from outside"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
