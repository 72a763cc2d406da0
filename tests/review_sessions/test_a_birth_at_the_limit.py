"""A birth that is one byte too long once its seq takes two."""

from __future__ import annotations

import pytest

from tests.sparkplug.helpers import T0, batch_of, metric, node_birth, online_edge, published
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession


def online() -> EdgeNodeSession:
    return online_edge(birth=node_birth(devices={}))


def bear(edge: EdgeNodeSession, length: int) -> int:
    edge.device_birth("d", [metric("text", DataType.STRING, "x" * length)], T0)
    return len(published(edge)[-1].payload)


def test_a_device_whose_new_birth_does_not_fit_lives_on_with_the_old_one():
    length = codec.PAYLOAD_BYTES_MAX - 100
    longest = length + codec.PAYLOAD_BYTES_MAX - bear(online(), length)
    edge = online()
    bear(edge, longest - 1)
    binding = edge.bindings()["uptime"]
    for _ in range(130):
        edge.publish_data(None, batch_of([binding], [1]), T0)
    edge.actions()
    with pytest.raises(LocalProtocolError):
        bear(edge, longest)
    assert published(edge) == []
    assert edge.devices == {"d"}
