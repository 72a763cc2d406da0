"""pysparkplug behind the line protocol of tests/interop/process.py. Runs in its own environment."""

from __future__ import annotations

import datetime as dt
import json
import sys
import threading

from pysparkplug import Client, DataType, DBirth, DData, Device, EdgeNode, MessageType, Metric, NBirth, NCmd, QoS, Topic
from pysparkplug._message import Message  # publishing as a host needs it; it is not exported

KINDS = {"NBIRTH": NBirth, "DBIRTH": DBirth, "DDATA": DData}
UTC = dt.timezone.utc  # noqa: UP017
_lock = threading.Lock()


def say(**fields):
    with _lock:
        print(json.dumps(fields), flush=True)


def value_of(datatype, text):
    if text is None:
        return None
    if datatype.name.endswith("_ARRAY"):
        element = DataType[datatype.name.removesuffix("_ARRAY")]
        return tuple(value_of(element, one) for one in json.loads(text))
    if datatype in {DataType.FLOAT, DataType.DOUBLE}:
        return float(text)
    if datatype is DataType.BOOLEAN:
        return text == "true"
    if datatype is DataType.DATETIME:
        ms = int(text)
        return dt.datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    if datatype in {DataType.STRING, DataType.TEXT, DataType.UUID}:
        return text
    if datatype is DataType.BYTES:
        return bytes.fromhex(text)
    return int(text)


def text_of(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return json.dumps([text_of(one) for one in value])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        since = value - dt.datetime(1970, 1, 1, tzinfo=UTC)
        return str(since // dt.timedelta(microseconds=1) / 1000).removesuffix(".0")
    return repr(value)


def metric_of(given, aliased):
    datatype = DataType[given["type"].replace("Array", "_Array").upper()]
    return Metric(
        timestamp=given["timestamp"],
        name=None if aliased and "alias" in given else given["name"],
        datatype=datatype,
        value=value_of(datatype, given["value"]),
        alias=given.get("alias"),
        is_null=given["value"] is None,
    )


def told(metrics):
    return [
        {"name": m.name, "alias": m.alias, "type": m.datatype.name, "null": m.is_null, "value": text_of(m.value)}
        for m in metrics
    ]


class Peer:
    def edge(self, port, group, node, metrics, devices, folder, primary_host):
        client = Client(client_id=f"{group}/{node}")
        listed = [metric_of(m, False) for m in metrics]
        self.node = EdgeNode(
            group, node, listed, client, lambda _, message: say(event="command", topic=str(message.topic))
        )
        for device, listed_of in devices.items():
            self.node.register(Device(device, [metric_of(m, False) for m in listed_of]))
        self.node.connect("127.0.0.1", port=port)

    def data(self, device, metrics):
        if device is None:
            self.node.update([metric_of(m, False) for m in metrics])
        else:
            self.node.update_device(device, [metric_of(m, False) for m in metrics])

    def device_death(self, device):
        self.node.deregister(device)

    def stop(self):
        self.node.disconnect()

    def host(self, port, host_id, group):
        self.client = Client(client_id=host_id)

        def received(_client, message):
            payload, topic = message.payload, message.topic
            metrics = getattr(payload, "metrics", None)
            if metrics is None and hasattr(payload, "bd_seq_metric"):
                metrics = (payload.bd_seq_metric,)
            say(event="message", type=str(topic.message_type), device=topic.device_id, metrics=told(metrics or ()))

        # Its parser takes one wildcard for what follows the group, and calls back by the text of the filter.
        self.client.subscribe(Topic(group_id=group, message_type="#"), QoS.AT_MOST_ONCE, received)
        self.client.connect("127.0.0.1", port=port)

    def rebirth(self, group, node, timestamp):
        metric = Metric(timestamp=timestamp, name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)
        topic = Topic(message_type=MessageType.NCMD, group_id=group, edge_node_id=node)
        message = Message(topic, NCmd(timestamp=timestamp, metrics=(metric,)), QoS.AT_MOST_ONCE, False)
        self.client.publish(message)

    def encode(self, kind, timestamp, seq, metrics):
        made = KINDS[kind](timestamp=timestamp, seq=seq, metrics=tuple(metric_of(m, kind == "DDATA") for m in metrics))
        return made.encode().hex()

    def decode(self, kind, payload, birth=None):
        held = None if birth is None else DBirth.decode(bytes.fromhex(birth))
        return told(KINDS[kind].decode(bytes.fromhex(payload), birth=held).metrics)


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
