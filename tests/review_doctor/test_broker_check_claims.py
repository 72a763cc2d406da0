"""What `uns broker check` says of an outcome is no more than what the probe has seen."""

from __future__ import annotations

from uns.runtime.broker_check.needs import NEEDS
from uns.runtime.broker_check.standard import STANDARD_PROBES


def test_a_granted_subscription_is_not_told_as_messages_that_arrive() -> None:
    """Mosquitto grants every subscription, and then delivers nothing of what its list denies."""
    (rights,) = [probe for probe in NEEDS if probe.name == "node_rights"]
    assert "mosquitto grants what it then does not deliver" in rights.means_ok


def test_gateways_may_speak_mqtt_5() -> None:
    (mqtt_5,) = [probe for probe in STANDARD_PROBES if probe.name == "mqtt_5"]
    assert "`mqtt: 5`" in mqtt_5.means_ok
    assert "`mqtt: 5`" in mqtt_5.means_not
