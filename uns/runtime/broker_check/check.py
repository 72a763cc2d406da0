"""Run the probes in order, the long one beside the others, and clear what was left behind."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

from uns.adapters.broker import EmbeddedBroker, MosquittoProcess
from uns.adapters.broker_address import BrokerAddress
from uns.adapters.raw_mqtt import RawMqtt
from uns.errors import ConnectionLost, UnreachableError
from uns.runtime.broker import BrokerKind
from uns.runtime.broker_check.needs import NEEDS
from uns.runtime.broker_check.probing import CheckReport, Finding, Probe, Probing, Verdict
from uns.runtime.broker_check.standard import STANDARD_PROBES, restore

__all__ = ["PROBES", "check_broker", "check_own_broker"]

PROBE_TIMEOUT_S = 60.0
_RIGHTS, *_OTHER_NEEDS = NEEDS
PROBES: tuple[Probe, ...] = (_RIGHTS, *STANDARD_PROBES, *_OTHER_NEEDS)
_BESIDE = "keep_alive"  # it waits; the others run meanwhile
_LAST = "retained_after_restart"  # it ends every connection
_WITHOUT_RIGHTS = {"mqtt_5", "node_rights"}  # they use no topic of the prefix, or can do without
_DENIED = "what this user writes under uns-probe/ does not arrive: see `rights`"
_BOUND = "this broker takes the client id from the credential, and the probe needs two connections at a time"
_ORDER: tuple[Verdict, ...] = ("fails", "warns", "not_probed", "ok")


async def check_broker(
    address: BrokerAddress,
    *,
    node: tuple[str, str] | None = None,
    restart: Callable[[], Awaitable[None]] | None = None,
    tell: Callable[[str], None] | None = None,
) -> CheckReport:
    """Probe the broker there. Raises :class:`UnreachableError` where it does not answer or refuses the credentials."""
    began = time.monotonic()
    probing = Probing(address, token=secrets.token_hex(4), restart=restart, node=node)
    say = tell or (lambda _text: None)
    async with await probing.connect("first"):
        pass
    say(f"probing {address.url}; topics are {probing.prefix}/#, cleared in the end")
    bound = await _is_id_bound(probing)
    by_name = {probe.name: probe for probe in PROBES}
    found = {_RIGHTS.name: await _run(probing, _RIGHTS, "")}
    denied = found[_RIGHTS.name].verdict == "fails"

    def why_not(probe: Probe) -> str:
        if denied and probe.name not in _WITHOUT_RIGHTS:
            return _DENIED
        return _BOUND if bound and probe.needs_two else ""

    try:
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(_run(probing, by_name[_BESIDE], why_not(by_name[_BESIDE])))
            for probe in PROBES:
                if probe.name not in {*found, _BESIDE, _LAST}:
                    found[probe.name] = await _run(probing, probe, why_not(probe))
            found[_BESIDE] = await beside
        found[_LAST] = await _run(probing, by_name[_LAST], why_not(by_name[_LAST]))
    finally:
        await _clear(probing)
    findings = [found[probe.name] for probe in PROBES]
    verdicts = {finding.verdict for finding in findings}
    return CheckReport(
        broker=address.url,
        prefix=f"{probing.prefix}/#",
        verdict=next(verdict for verdict in ("fails", "warns", "ok") if verdict in {*verdicts, "ok"}),
        seconds=round(time.monotonic() - began, 1),
        mqtt_5=probing.properties,
        probes=sorted(findings, key=lambda finding: _ORDER.index(finding.verdict)),
    )


async def check_own_broker(kind: BrokerKind, *, tell: Callable[[str], None] | None = None) -> CheckReport:
    """Start a broker of ours as ``uns broker`` does, probe it, restart it, end it."""
    if kind == "embedded":
        current = [await EmbeddedBroker().__aenter__()]
        port = current[0].port

        async def restart_embedded() -> None:
            await current[0].__aexit__(None, None, None)
            current[0] = await EmbeddedBroker(port=port).__aenter__()

        try:
            return await check_broker(BrokerAddress(url=current[0].url), restart=restart_embedded, tell=tell)
        finally:
            await current[0].__aexit__(None, None, None)
    async with MosquittoProcess() as broker:

        async def restart() -> None:
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)

        return await check_broker(BrokerAddress(url=broker.url), restart=restart, tell=tell)


async def _run(probing: Probing, probe: Probe, why_not: str) -> Finding:
    verdict: Verdict = "not_probed"
    seen = why_not
    try:
        if not why_not:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                verdict, seen = await probe.run(probing)
    except (UnreachableError, TimeoutError, OSError) as error:
        verdict, seen = "fails", f"the probe could not be finished: {error or 'no end'}"
    return Finding(
        probe=probe.name,
        title=probe.title,
        verdict=verdict,
        seen=seen,
        means=probe.means_ok if verdict == "ok" else "" if verdict == "not_probed" else probe.means_not,
        next_step=probe.next_step if verdict in {"fails", "warns"} else "",
        tck_ids=tuple(probe.tck_ids),
    )


async def _is_id_bound(probing: Probing) -> bool:
    """Whether two clients with different ids and one credential displace each other."""
    async with await probing.connect("one") as first:
        second = await RawMqtt.open(probing.address, client_id=probing.client_id("two"))
        try:
            return await first.gone(0.5)
        finally:
            await second.disconnect()


async def _clear(probing: Probing) -> None:
    try:
        await restore(probing)
        await probing.clear()
    except (UnreachableError, ConnectionLost):
        return
