"""Level ``broker``: what the gateway deletes had reached the broker, however late and often PUBACKs come."""

from __future__ import annotations

import random

import pytest

from tests.delivery.channel import Channel, Data
from uns.delivery.messages import Mark


class BrokerChannel(Channel):
    """A connection to a broker: in order, may be cut anywhere; each copy of a mark has a PUBACK of its own."""

    def __init__(self) -> None:
        super().__init__(level="broker")
        self.reached: set[int] = set()
        self.acknowledged: list[int] = []  # marks of this connection; the next one knows nothing of them

    def broker_takes(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            message = self.up.popleft()
            if isinstance(message, Data):
                self.reached.update(message.rows)
            elif isinstance(message, Mark) and message.session == self.edge.session_id:
                self.acknowledged.append(message.n)

    def receive_pubacks(self, rng: random.Random) -> None:
        """In any order, some twice."""
        rng.shuffle(self.acknowledged)
        for n in self.acknowledged[: rng.randrange(4)]:
            self.edge.receive_puback(n, self.now_ns)
            self.drain_edge()
        if rng.random() < 0.5:
            self.acknowledged = self.acknowledged[-2:]

    def cut(self, rng: random.Random) -> None:
        self.cut_up(rng.randrange(len(self.up) + 1))
        self.acknowledged.clear()


@pytest.mark.parametrize("seed", range(300))
def test_rows_deleted_at_the_edge_have_reached_the_broker(seed):
    rng = random.Random(seed)
    channel = BrokerChannel()
    channel.connect()
    for _ in range(rng.randrange(20, 150)):
        match rng.randrange(9):
            case 0:
                channel.store(rng.randrange(1, 5))
            case 1 | 2:
                channel.send("live")
            case 3:
                channel.send("history")
            case 4 | 5:
                channel.broker_takes(rng.randrange(1, 6))
            case 6:
                channel.receive_pubacks(rng)
            case 7:
                channel.pass_time(rng.choice((1, 500, 5_000)))
            case _ if rng.random() < 0.3:
                channel.cut(rng)
                channel.broker_takes(len(channel.up))
                channel.connect()
        assert channel.deleted <= channel.reached
