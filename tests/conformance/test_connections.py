"""How our clients connect: clean sessions."""

from __future__ import annotations

import inspect

import pytest

from uns.adapters.mqtt import MqttConnection


@pytest.mark.tck(
    "tck-id-principles-persistence-clean-session-311", "tck-id-message-flow-phid-sparkplug-clean-session-311"
)
def test_connections_are_clean_by_default():
    assert inspect.signature(MqttConnection).parameters["clean_session"].default is True
