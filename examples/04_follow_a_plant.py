"""Follow a plant: every birth, value and death of any vendor's edge nodes, in 20 lines.

Run it beside a broker: ``python -m examples.04_follow_a_plant mqtt://127.0.0.1:1883``. Ctrl-C ends it.
"""

# ruff: noqa: N999 - numbered, to be read in order
import random
import sys
import time

from uns.adapters.sparkplug import BrokerAddress, SparkplugConnection, run
from uns.sparkplug import HostSession
from uns.sparkplug.messages import DataReceived, NodeBorn, NodeDied


async def follow(url: str = "mqtt://127.0.0.1:1883") -> None:
    session = HostSession("example-host", jitter=random.randrange)
    session.connect(time.time_ns())
    async with SparkplugConnection(session, BrokerAddress(url=url)) as connection:
        while True:
            for event in await connection.receive():
                if isinstance(event, DataReceived):
                    for metric, value in zip(event.data.bindings, event.data.values, strict=True):
                        print(event.edge_node, event.device_id, metric.name, value, flush=True)
                elif isinstance(event, NodeBorn | NodeDied):
                    print(event.edge_node, type(event).__name__, flush=True)


if __name__ == "__main__":
    run(follow(*sys.argv[1:2]))
