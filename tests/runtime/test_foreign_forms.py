"""Payloads that the standard does not have and some peers send: compressed ones, and timestamps in nanoseconds."""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.review_host.stages import Node
from tests.runtime.plants import Plant, plant
from tests.servers import eventually, mosquitto
from uns.adapters.mqtt import IncomingMessage, MqttConnection
from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.namespace.loader import load_tree
from uns.runtime.host.groups import WorkItem
from uns.runtime.host.rejoin import RawReader
from uns.sparkplug.codec import DEFAULT_LENIENCY, PAYLOAD_BYTES_MAX, Leniency
from uns.sparkplug.topics import EdgeNodeDescriptor

FOREIGN = EdgeNodeDescriptor("acme.dallas", "gw-1")
ALL = Leniency(scale_nanoseconds=True, inflate_bytes_max=PAYLOAD_BYTES_MAX)


def compressed(payload: bytes, *, algorithm: str = "") -> bytes:
    envelope = Payload(uuid="SPBV1.0_COMPRESSED", body=gzip.compress(payload) if algorithm else zlib.compress(payload))
    inner = Payload.FromString(payload)
    envelope.timestamp, envelope.seq = inner.timestamp, inner.seq
    if algorithm:
        envelope.metrics.add(name="algorithm", datatype=12, string_value=algorithm)
    return envelope.SerializeToString()


def gzipped(payload: bytes) -> bytes:
    return compressed(payload, algorithm="GZIP")


def in_nanoseconds(payload: bytes) -> bytes:
    """Every timestamp in ns: those of births, which the helpers leave at 1 ms, become now."""
    wire = Payload.FromString(payload)
    said: Any
    for said in (wire, *wire.metrics):
        ms = said.timestamp if said.timestamp > 1 else time.time_ns() // 1_000_000
        said.timestamp = ms * 1_000_000
    return wire.SerializeToString()


async def send(made: Plant, form: Callable[[bytes], bytes], messages: list[IncomingMessage]) -> None:
    async with MqttConnection(made.address, client_id="foreign") as connection:  # one: brokers order no two
        connection.publish_many([msgspec.structs.replace(one, payload=form(one.payload)) for one in messages])
        await connection.drain()


async def activity(made: Plant) -> dict[str, Any]:
    found: dict[str, Any] = (await made.status())["activity"]
    return found


async def foreign_plant(made: Plant, form: Callable[[bytes], bytes], **options: Any) -> Node:
    """A host, and the births and two samples of a foreign node in that form."""
    await made.start_host(**options)
    node = Node(made.tree, name=FOREIGN, ours=False)
    now_ms = time.time_ns() // 1_000_000
    births = node.births()
    await send(made, form, [*births, node.data(("temperature", 180.5, now_ms), ("pressure", 1.5, now_ms + 1))])
    return node


@pytest.mark.integration
@pytest.mark.parametrize("form", [compressed, gzipped])
async def test_a_host_that_is_told_so_reads_compressed_births_and_counts_each(tmp_path: Path, form):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            node = await foreign_plant(made, form, accept_compressed=True)
            await eventually(lambda: len(made.listener.ticks()) == 1, what="the samples are recorded")
            assert (await activity(made))["sparkplug_forgiven_compressed_payload"] == 3
            await send(made, form, [node.death()])  # who compresses everything compresses that too
            await eventually(lambda: made.host and not made.host.session.nodes[FOREIGN].online, what="it is dead")
            rows = made.query(
                "SELECT metric, value_num FROM samples JOIN series USING (series) ORDER BY source_time_ns"
            )
            assert rows == [("temperature", 180.5), ("pressure", 1.5)]


@pytest.mark.integration
async def test_a_host_that_is_told_so_reads_timestamps_in_ns_and_counts_each(tmp_path: Path):
    before_ns = time.time_ns() // 1_000_000 * 1_000_000
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await foreign_plant(made, in_nanoseconds, accept_nanoseconds=True)
            await eventually(lambda: len(made.listener.ticks()) == 1, what="the samples are recorded")
            assert (await activity(made))["sparkplug_forgiven_nanosecond_timestamp"] == 3
            times = [time_ns for (time_ns,) in made.query("SELECT source_time_ns FROM samples")]
            assert len(times) == 2
            assert all(before_ns <= time_ns <= time.time_ns() + 1_000_000 for time_ns in times)


@pytest.mark.integration
async def test_without_the_option_compressed_births_are_refused_and_the_option_is_named(tmp_path: Path, capsys):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await foreign_plant(made, compressed)
            await eventually(lambda: len(made.listener.of("/_dlq/host")) >= 1, what="the birth is a dead letter")
            letter = made.listener.of("/_dlq/host")[0]
            assert "`uns host run --accept-compressed`" in letter["reason"]
            assert b"SPBV1.0_COMPRESSED" in base64.b64decode(letter["payload"])
            found = await activity(made)
            assert found["sparkplug_violation_nbirth"] == 1
            assert "sparkplug_forgiven_compressed_payload" not in found
            assert made.query("SELECT count(*) FROM samples") == [(0,)]
    assert "--accept-compressed" in capsys.readouterr().out


@pytest.mark.integration
async def test_without_the_option_compressed_data_of_a_known_node_is_rejected_and_the_option_is_named(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()
            node = Node(made.tree, name=FOREIGN, ours=False)
            births = node.births()
            data = node.data(("temperature", 1.0, 5), ("pressure", 2.0, 5))
            await send(made, bytes, [*births, msgspec.structs.replace(data, payload=compressed(data.payload))])
            await eventually(lambda: made.listener.of("/_dlq/host"), what="it is a dead letter")
            assert "--accept-compressed" in made.listener.of("/_dlq/host")[0]["reason"]
            await eventually(lambda: made.host and made.host.joiner.joined == 3, what="all is joined")
            status = await made.status()
            assert (status["foreign"]["received"], status["foreign"]["rejected"]) == (1, 1)


@pytest.mark.integration
async def test_without_the_option_timestamps_in_ns_are_refused_and_the_option_is_named(tmp_path: Path, capsys):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await foreign_plant(made, in_nanoseconds)
            await eventually(lambda: made.host and made.host.joiner.joined == 3, what="all is joined")
            status = await made.status()
            assert (status["foreign"]["received"], status["foreign"]["rejected"]) == (2, 2)
            assert status["activity"]["birth_metrics_refused"] > 2
            assert "sparkplug_forgiven_nanosecond_timestamp" not in status["activity"]
            reasons = made.query("SELECT DISTINCT reason FROM unrecorded")
            assert reasons == [("nanosecond_timestamp",)]
    assert "--accept-nanoseconds" in capsys.readouterr().out


# --- reading the raw log again ----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path):
    from tests.runtime.plants import TREE_TEXT

    (tmp_path / "topic_tree.yaml").write_text(TREE_TEXT, encoding="utf-8")
    return load_tree(tmp_path / "topic_tree.yaml")


def read_again(tree, form: Callable[[bytes], bytes], leniency: Leniency, *, options_now: Leniency) -> WorkItem:
    """A DDATA of two samples, read with the births that were held where reading begins; the options changed later."""
    node = Node(tree, name=FOREIGN, ours=False)
    node_birth, device_birth = node.births()
    held = [
        RawBirth(1, 0, FOREIGN, None, "foreign:bd0", 0, form(node_birth.payload)),
        RawBirth(2, 0, FOREIGN, "reactor4", "foreign:bd0", 0, form(device_birth.payload)),
    ]
    message = node.data(("temperature", 1.0, 5_000_000_000), ("pressure", 2.0, 5_000_000_000))
    item = RawReader(tree, held, [(0, leniency), (4, options_now)]).read(
        RawMessage(3, 0, message.topic, "foreign:bd0", 2, form(message.payload))
    )
    assert isinstance(item, WorkItem)
    return item


@pytest.mark.parametrize("options_now", [ALL, DEFAULT_LENIENCY])
@pytest.mark.parametrize("form", [compressed, in_nanoseconds])
def test_what_was_read_when_an_option_was_on_is_read_again_so_whether_it_is_on_or_off_now(tree, form, options_now):
    work = read_again(tree, form, ALL, options_now=options_now).work
    assert [batch.values for batch, _ in work.batches] == [[1.0, 2.0]]
    assert not work.rejected


@pytest.mark.parametrize("options_now", [ALL, DEFAULT_LENIENCY])
def test_samples_that_were_refused_stay_refused_when_the_option_is_on_later(tree, options_now):
    work = read_again(tree, in_nanoseconds, DEFAULT_LENIENCY, options_now=options_now).work
    assert (work.samples, work.batches) == (2, [])
    assert {sample.reason for sample in work.rejected} == {"nanosecond_timestamp"}


@pytest.mark.parametrize("options_now", [ALL, DEFAULT_LENIENCY])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_compressed_payload_that_was_refused_stays_refused_as_the_samples_it_was_counted_as(
    tree, options_now, samples
):
    """One sample inside, too: what a payload holds does not tell whether it was read."""
    node = Node(tree, name=FOREIGN, ours=False)
    births = [
        RawBirth(position, 0, FOREIGN, device_id, "foreign:bd0", 0, birth.payload)
        for position, device_id, birth in zip((1, 2), (None, "reactor4"), node.births(), strict=True)
    ]
    message = node.data(*[("temperature", 1.0, 5_000_000_000), ("pressure", 2.0, 5_000_000_000)][:samples])
    item = RawReader(tree, births, [(0, DEFAULT_LENIENCY), (4, options_now)]).read(
        RawMessage(3, 0, message.topic, "foreign:bd0", 1, compressed(message.payload))
    )
    assert isinstance(item, WorkItem)
    assert (item.work.samples, item.work.batches) == (1, [])
    (refused,) = item.work.rejected
    assert refused.reason.startswith("malformed: compressed payload")


@pytest.mark.integration
async def test_an_option_that_is_taken_away_holds_for_what_comes_from_then_on(tmp_path: Path):
    """Joining stood still when the host was stopped: its next life, without the options, reads the raw log again."""
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            host = await made.start_host(accept_nanoseconds=True)
            host.output._room.clear()
            node = Node(made.tree, name=FOREIGN, ours=False)
            now_ms = time.time_ns() // 1_000_000
            await send(made, in_nanoseconds, [*node.births(), node.data(("temperature", 180.5, now_ms))])
            await eventually(lambda: host.joiner.head == 3, what="all is in the raw log")
            assert host.joiner.joined == 0
            await made.crash_host()
            await made.start_host()
            await eventually(lambda: made.host and made.host.joiner.joined == 3, what="all is joined")
            assert made.query("SELECT value_num FROM samples") == [(180.5,)]
            await send(made, in_nanoseconds, [*node.births(), node.data(("temperature", 181.5, now_ms + 1))])
            await eventually(lambda: made.host and made.host.joiner.joined == 6, what="that is joined, too")
            assert made.query("SELECT reason FROM unrecorded") == [("nanosecond_timestamp",)]
