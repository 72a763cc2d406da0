"""An edge node and a host talk Sparkplug B with no broker, no socket and no clock: the core only decides.

Run it: ``python -m examples.01_two_sessions_without_a_broker``
"""

# ruff: noqa: N999 - numbered, to be read in order
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import DataReceived, NodeBirth, Publish
from uns.sparkplug.metrics import BirthMetric, DataBatch
from uns.sparkplug.topics import EdgeNodeDescriptor

NOW_NS = 1_780_515_120_125_000_000  # time is an argument: 3 June 2026, 19:32:00.125 UTC


def carry(edge: EdgeNodeSession, host: HostSession) -> None:
    """Be the broker: hand every message of the edge to the host."""
    for action in edge.actions():
        if isinstance(action, Publish):
            message = action.message
            print(f"{message.topic:45} {len(message.payload):3} bytes, QoS {message.qos}")
            host.receive_message(message.topic, message.payload, retain=False, now_ns=NOW_NS)


def main() -> None:
    host = HostSession("uns-host-1", jitter=lambda _interval_ms: 0)  # randomness is an argument too
    host.connect(NOW_NS)
    host.receive_connected(NOW_NS)
    host.receive_subscribed(NOW_NS)

    edge = EdgeNodeSession(EdgeNodeDescriptor("acme.dallas", "gw-reaction-1"))
    edge.connect(bd_seq=0, session_id="a-uuid-per-connect", now_ns=NOW_NS)
    edge.receive_connected(NOW_NS)
    edge.receive_subscribed(NOW_NS)
    temperature = BirthMetric(name="temperature", datatype=DataType.FLOAT)
    edge.birth(NodeBirth(devices={"reactor4": [temperature]}), NOW_NS)
    carry(edge, host)

    binding = edge.bindings("reactor4")["temperature"]
    edge.publish_data("reactor4", DataBatch(bindings=[binding], values=[182.0], times_ms=[NOW_NS // 10**6]), NOW_NS)
    carry(edge, host)

    for event in host.events():
        if isinstance(event, DataReceived):
            for metric, value in zip(event.data.bindings, event.data.values, strict=True):
                print(f"the host read {metric.name} = {value!r} of {event.edge_node}/{event.device_id}")


if __name__ == "__main__":
    main()
