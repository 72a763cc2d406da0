"""mqtt-spb-wrapper behind the line protocol of tests/interop/process.py. Runs in its own environment."""

from __future__ import annotations

import datetime as dt
import json
import sys
import threading

from mqtt_spb_wrapper import MqttSpbEntityDevice, MqttSpbEntityEdgeNode, MqttSpbEntityScada
from mqtt_spb_wrapper.spb_base import SpbPayloadParser
from mqtt_spb_wrapper.spb_protobuf import MetricDataType, Payload
from mqtt_spb_wrapper.spb_protobuf.sparkplug_b import addMetric, addNullMetric

INTEGERS = {"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "DateTime"}
_lock = threading.Lock()


def say(**fields):
    with _lock:
        print(json.dumps(fields), flush=True)


def value_of(kind, text):
    if text is None:
        return None
    if kind in INTEGERS:
        return int(text)
    if kind in {"Float", "Double"}:
        return float(text)
    if kind == "Boolean":
        return text == "true"
    return bytes.fromhex(text) if kind == "Bytes" else text


def text_of(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):  # its own are without a zone, in local time
        return str(round(value.timestamp() * 1000))
    return repr(value)


def set_values(entity, metrics):
    for m in metrics:
        kind = getattr(MetricDataType, m["type"])
        entity.data.set_value(
            m["name"],
            value_of(m["type"], m["value"]),
            timestamp=m["timestamp"],
            spb_alias_num=m.get("alias"),
            spb_data_type=kind,
        )


def told(payload):
    names = {number: name for name, number in vars(MetricDataType).items() if isinstance(number, int)}
    return [
        {
            "name": m.get("name"),
            "alias": m.get("alias"),
            "type": names.get(m.get("datatype")),
            "null": m.get("isNull", False),
            "value": text_of(m.get("value")),
        }
        for m in (payload or {}).get("metrics", ())
    ]


class Peer:
    def edge(self, port, group, node, metrics, devices, folder, primary_host):
        self.node = MqttSpbEntityEdgeNode(group, node)
        self.devices = {}
        set_values(self.node, metrics)
        self.node.connect(host="127.0.0.1", port=port, client_id=f"{group}/{node}")
        self.node.publish_birth()
        for device, listed in devices.items():
            entity = self.devices[device] = MqttSpbEntityDevice(group, node, device)
            set_values(entity, listed)
            entity.connect(host="127.0.0.1", port=port, client_id=f"{group}/{node}/{device}")
            entity.publish_birth()

    def data(self, device, metrics):
        entity = self.node if device is None else self.devices[device]
        set_values(entity, metrics)
        entity.publish_data()

    def device_death(self, device):
        self.devices.pop(device).disconnect()

    def stop(self):
        for entity in self.devices.values():
            entity.disconnect()
        self.node.disconnect()

    def host(self, port, host_id, group):
        def received(topic, payload):
            said = told(payload) if isinstance(payload, dict) else []
            say(event="message", type=topic.message_type, device=topic.eon_device_name, metrics=said)

        self.scada = MqttSpbEntityScada(group, host_id)
        self.scada.callback_birth = self.scada.callback_data = self.scada.callback_death = received
        self.scada.connect(host="127.0.0.1", port=port)
        self.scada.publish_birth()

    def rebirth(self, group, node, timestamp):
        self.scada.get_edge_node(node).send_command("Node Control/Rebirth", True, force=True)

    def encode(self, kind, timestamp, seq, metrics):
        payload = Payload()
        payload.timestamp, payload.seq = timestamp, seq
        for m in metrics:
            datatype, alias = getattr(MetricDataType, m["type"]), m.get("alias")
            name = None if kind == "DDATA" and alias is not None else m["name"]
            if m["value"] is None:
                addNullMetric(payload, name, alias, datatype)
            else:
                addMetric(payload, name, alias, datatype, value_of(m["type"], m["value"]), m["timestamp"])
        return payload.SerializeToString().hex()

    def decode(self, kind, payload, birth=None):
        return told(SpbPayloadParser(bytes.fromhex(payload)).payload)


def main():
    peer = Peer()
    say(ok="ready")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(peer, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001  # whatever the library raises is what the test wants to see
            say(error=f"{type(error).__name__}: {error}")
        else:
            say(ok=answer)


main()
