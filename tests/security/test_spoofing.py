"""Sixty and more ways to be somebody else, against the example plant behind TLS and the rendered access list.

The same table runs once against the same plant with an open broker, where every attempt succeeds: the judge can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from examples.secure_plant.make_certificates import Authority
from examples.secure_plant.plant import HOST_ID, TREE_FILE
from tests.security.attack import GATEWAY, attacked
from tests.security.attempts import ATTEMPTS, OTHER_NODE, READER, STATE, Attempt, node_death
from uns.adapters.mqtt import MqttConnection

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

JUDGES_WITHIN_S = 30.0
OWN_DEATH = "spBv1.0/acme.dallas/NDEATH/gw-energy"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory):
    async with attacked(tmp_path_factory.mktemp("secured")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def undisturbed(secured):
    """What host and gateway said of themselves before anybody attacked."""
    await secured.until_edge_tells()
    return await secured.host_state(), secured.edge_state()


async def test_there_are_sixty_attempts_and_no_two_alike():
    assert len(ATTEMPTS) >= 60
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
async def test_an_attempt_is_not_accepted(secured, undisturbed, attempt):
    assert not await secured.is_accepted(attempt, await secured.victim())
    assert await secured.host_state() == undisturbed[0]


async def test_after_all_attempts_gateway_and_host_are_as_before_and_values_flow(secured, undisturbed):
    await secured.until_edge_tells()
    assert await secured.host_state() == undisturbed[0]
    assert secured.edge_state() == undisturbed[1]
    recorded = (await secured.plant.run.host_status())["counters"]["recorded"]
    await secured.plant.run.until(lambda status: status["counters"]["recorded"] > recorded, "values still flow")


async def test_a_fact_put_with_the_certificate_of_its_source_is_accepted(secured):
    own = secured.plant.address("fact/mes")
    command = [sys.executable, "-m", "uns", "context", "put", "--json", "--tree", str(TREE_FILE)]
    command += ["--kind", "job", "--equipment", "line2", "--idle", "--broker", own.url]
    command += ["--ca-file", str(own.ca_file), "--cert-file", str(own.cert_file), "--key-file", str(own.key_file)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert '"accepted":true' in ended.stdout


async def test_a_wide_subscription_gets_what_the_credential_may_read_alone(secured):
    async def topics_of(login, enough) -> set[str]:
        found: set[str] = set()
        async with MqttConnection(secured.address(login), client_id="listener") as connection:
            await connection.subscribe([("#", 0)])
            ticks = secured.observer.count("/_data/")
            async with asyncio.timeout(20):
                while not (secured.observer.count("/_data/") > ticks + 2 and enough(found)):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            found.update(message.topic for message in await connection.next_batch())
        return found

    assert await topics_of(OTHER_NODE, lambda found: STATE in found) == {STATE}
    assert all(
        topic.startswith(("uns1/acme/dallas/", "uns1/_audit/"))
        for topic in await topics_of(READER, lambda found: any("/_data/" in topic for topic in found))
    )


async def test_one_credential_is_one_connection_whatever_client_ids_it_claims(secured):
    address = secured.address(OTHER_NODE)
    async with MqttConnection(address, client_id="one") as first, MqttConnection(address, client_id="two"):
        async with asyncio.timeout(5):
            while not first.lost:
                await asyncio.sleep(0.01)
    assert secured.times_taken(OTHER_NODE.credential) >= 2, "the log that judges client ids is read while it is written"
    assert secured.times_taken("one") == secured.times_taken("two") == 0


async def test_a_certificate_is_replaced_without_a_restart_and_a_pair_that_does_not_fit_is_waited_for(secured):
    """Cut off with new files half in place, the host tries again until they fit."""
    run, output = secured.plant.run, secured.plant.address(f"{HOST_ID}-out")
    key = Path(str(output.key_file))
    Authority(secured.plant.certificates, now=datetime.now(UTC)).issue(
        f"{HOST_ID}-out", f"{HOST_ID}-out", now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    new_key = key.read_bytes()
    async with MqttConnection(output, client_id="takes the place of the output"):
        key.write_bytes(Path(str(secured.plant.address("observer").key_file)).read_bytes())
    log = secured.plant.directory / "logs" / "host.log"
    await run.until(lambda _: "TLS files cannot be used" in log.read_text(encoding="utf-8"), "the host says so")
    key.write_bytes(new_key)
    await run.until(lambda status: status["output_connected"], "the host is back with the new certificate")


async def test_what_a_credential_may_do_is_done_wills_too(secured):
    """The positive control; last, because the host then knows the node."""
    victim = await secured.victim()
    own = [
        Attempt(name="own", login=OTHER_NODE, topic=OWN_DEATH, payload=node_death),
        Attempt(name="own will", login=OTHER_NODE, do="will", topic=OWN_DEATH, payload=node_death),
    ]
    assert [await secured.is_accepted(attempt, victim) for attempt in own] == [True, True]


async def test_every_attempt_succeeds_at_an_open_broker_and_the_judges_see_it(tmp_path):
    async with attacked(tmp_path, is_open=True) as plant:
        await plant.until_edge_tells()
        host_before, edge_before = await plant.host_state(), plant.edge_state()
        victim = await plant.victim()
        denied = [attempt.name for attempt in ATTEMPTS if not await plant.is_accepted(attempt, victim)]
        assert denied == []
        # Those whose connections were taken come back in a moment; only then do they tell what happened.
        deadline = time.monotonic() + JUDGES_WITHIN_S
        while True:
            await plant.until_edge_tells()
            host_after, edge_after = await plant.host_state(), plant.edge_state()
            at_host = {key for key in host_before if host_before[key] != host_after[key]}
            at_edge = {key for key in edge_before if edge_before[key] != edge_after[key]}
            missed = {"edge_nodes", "facts_received", "facts", "output_connects"} - at_host
            missed |= {"births"} - at_edge
            if not at_edge & {"connects", "health"}:  # taken: it comes back, or waits and says that it has a double
                missed.add("connects or health")
            if not missed:
                break
            assert time.monotonic() < deadline, f"nobody tells of {missed}: {host_after}, {edge_after}"
        assert GATEWAY in str(host_after["edge_nodes"])
        await plant.observer.fence()
