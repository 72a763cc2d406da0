"""Publish a device: a new Sparkplug edge node in 30 lines.

Run it beside a broker: ``python -m examples.03_publish_a_device mqtt://127.0.0.1:1883``. Ctrl-C ends it.
"""

# ruff: noqa: N999 - numbered, to be read in order
import math
import sys
import time
from pathlib import Path
from uuid import uuid4

from uns.adapters.sparkplug import BrokerAddress, SparkplugConnection, run
from uns.sparkplug import BirthMetric, DataBatch, DataType, EdgeNodeDescriptor, EdgeNodeSession, EdgeState, NodeBirth
from uns.sparkplug.messages import BirthDue
from uns.sparkplug.sequences import next_bd_seq


def temperature() -> float:
    return 182.0 + math.sin(time.monotonic())


def take_bd_seq(file: Path) -> int:
    bd_seq = next_bd_seq(int(file.read_text())) if file.exists() else 0
    file.write_text(str(bd_seq))  # one more at each CONNECT, and on disk before it
    return bd_seq


async def publish(bd_seq: int, url: str = "mqtt://127.0.0.1:1883") -> None:
    session = EdgeNodeSession(EdgeNodeDescriptor("acme.dallas", "example-node"))
    session.connect(bd_seq=bd_seq, session_id=str(uuid4()), now_ns=time.time_ns())
    async with SparkplugConnection(session, BrokerAddress(url=url)) as connection:
        while True:
            for event in await connection.receive(timeout_s=1.0):
                if isinstance(event, BirthDue):  # connected, or a host asked for a rebirth
                    born = BirthMetric(name="temperature", datatype=DataType.FLOAT, value=temperature())
                    session.birth(NodeBirth(devices={"reactor4": [born]}), time.time_ns())
            if session.state is EdgeState.ONLINE:
                binding, now_ns = session.bindings("reactor4")["temperature"], time.time_ns()
                batch = DataBatch(bindings=[binding], values=[temperature()], times_ms=[now_ns // 10**6])
                session.publish_data("reactor4", batch, now_ns)


if __name__ == "__main__":
    run(publish(take_bd_seq(Path("example-node.bdseq")), *sys.argv[1:2]))
