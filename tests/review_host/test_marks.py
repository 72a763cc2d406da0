"""Only a mark that is said now names a session."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.review_host.stages import Node, now_ms, stages


async def test_a_retained_mark_names_nothing_and_is_not_answered(tmp_path: Path):
    async with stages(tmp_path) as host:
        node = Node(host.tree)
        await host.receive(*node.births())
        await host.idle()
        host.connect()
        await host.receive(msgspec.structs.replace(node.mark(), retain=True), node.data(("temperature", 1.0, now_ms())))
        await host.idle()
        assert host.answers == []
        assert host.query("SELECT count(*) FROM samples") == [(0,)]


@pytest.mark.parametrize("reconnected", [False, True])
async def test_data_behind_the_mark_of_another_session_is_not_read_with_the_births_that_are_held(
    tmp_path: Path, reconnected: bool
):
    """Its NBIRTH was lost on the way: older births would give silently wrong values (design 8.6)."""
    async with stages(tmp_path) as host:
        node, other = Node(host.tree), Node(host.tree, session="session-2")
        await host.receive(*node.births())
        await host.idle()
        if reconnected:
            host.connect()
        await host.receive(other.mark(), other.data(("temperature", 1.0, now_ms())), other.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers] == [False, False]
        assert host.query("SELECT count(*) FROM samples") == [(0,)]
        # The session that is held may still be the right one: it only has to say so.
        await host.receive(node.mark(), node.data(("temperature", 1.0, now_ms())), node.mark())
        await host.idle()
        assert [answer.ok for answer in host.answers[2:]] == [False, True]
