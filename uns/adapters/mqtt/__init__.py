"""One MQTT connection, 3.1.1 or 5, as the sessions need it. The one door to aiomqtt and paho.

:mod:`~uns.adapters.mqtt.connection` is what callers use: publish many, receive in batches, acknowledge by hand.
:mod:`~uns.adapters.mqtt.wire` moves the bytes: paho's client on the socket, driven by the event loop.
"""

from __future__ import annotations

from uns.adapters.broker_address import BrokerAddress, parse_broker_url
from uns.adapters.mqtt.connection import MqttConnection
from uns.adapters.mqtt.messages import IncomingMessage, Publication
from uns.adapters.mqtt.wire import paho_client_of
from uns.errors import ConnectionLost

__all__ = [
    "BrokerAddress",
    "ConnectionLost",
    "IncomingMessage",
    "MqttConnection",
    "Publication",
    "paho_client_of",
    "parse_broker_url",
]
