"""The two cursors over the store: live rows as they are committed, history behind them at a bounded rate.

Each turn puts DATA messages into the session and counts them in the delivery; the caller puts both on the connection
before it does anything else, so that order on the wire is the order of decisions.
"""

from __future__ import annotations

from collections import deque

from edge_nodes.backlog import plan_payloads
from edge_nodes.births import Births
from edge_nodes.counters import PublisherCounters
from edge_nodes.definition import Definition
from edge_nodes.intake import StoreThread
from edge_nodes.node_file import DeliveryConfig
from edge_nodes.reduction import Rows
from edge_nodes.rows import StoredRows
from edge_nodes.session_clock import SessionClock
from edge_nodes.store import Committed
from uns.delivery.edge import EdgeDelivery
from uns.delivery.messages import Cursor, digest_of
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.transitions import EdgeState

__all__ = ["HISTORY_BURST_S", "Cursors"]

LIVE_BUFFER_ROWS_MAX = 50_000  # committed rows kept in memory until they are sent; beyond, they are read again
LIVE_ROWS_PER_TURN = 5_000
HISTORY_ROWS_PER_TURN = 500
HISTORY_BURST_S = 0.1  # of rows that may go out at once


class Cursors:
    """Reads what is due and publishes it into ``session``; ``head`` is the next id that the store will give."""

    def __init__(
        self,
        config: DeliveryConfig,
        definition: Definition,
        session: EdgeNodeSession,
        delivery: EdgeDelivery,
        *,
        store: StoreThread,
        births: Births,
        clock: SessionClock,
        counters: PublisherCounters,
    ) -> None:
        self._config = config
        self._definition = definition
        self._session = session
        self._delivery = delivery
        self._store = store
        self._births = births
        self._clock = clock
        self._counters = counters
        self._live: deque[StoredRows] = deque()
        self._live_rows = 0
        self._tokens = 0.0
        self._tokens_at = 0.0
        self.head: int = store.store.next_id

    def committed(self, rows: Rows, commit: Committed) -> None:
        """Rows are on disk: they may be sent now, from memory while that is short."""
        from_id, self.head = self.head, commit.next_id
        if not rows.metrics or not commit.holds(rows) or commit.first_id != from_id or not self._is_online:
            return
        times_ms = [time_ns // 1_000_000 for time_ns in rows.times_ns]
        self._live.append(
            StoredRows(
                commit.next_id,
                rows.metrics,
                times_ms,
                rows.ordinals,
                rows.values,
                rows.status_codes,
                rows.time_sources,
                commit.first_id,
            )
        )
        self._live_rows += len(rows)
        while self._live_rows > LIVE_BUFFER_ROWS_MAX:
            self._live_rows -= len(self._live.popleft())

    def session_ended(self) -> None:
        """Nothing can be sent; what was in memory will be read again."""
        self._live.clear()
        self._live_rows = 0

    def history_restarted(self) -> None:
        """History goes again from its oldest row, not in a burst."""
        self._tokens = 0.0

    async def send_live(self) -> bool:
        """Publish one turn of live rows; True if there are more."""
        position = self._delivery.live_position
        if position >= self.head:
            return False
        while self._live and self._live[0].next_id <= position:
            self._live_rows -= len(self._live.popleft())
        if self._live and self._live[0].first_id == position:
            rows = self._next_live()
        else:
            below = self._live[0].first_id if self._live else self.head
            rows = await self._store.call(self._store.store.read, position, below, rows_max=LIVE_ROWS_PER_TURN)
            if position != self._delivery.live_position or not self._is_online:
                return True
            if not len(rows):  # dropped in the meantime
                if not self._live:
                    return False
                rows = self._next_live()
        self._publish("live", position, rows)
        return self._delivery.live_position < self.head

    async def send_history(self) -> bool:
        """Publish one turn of history if it may go now; True if there may be more."""
        now = self._clock.steady_ns()
        if not self._delivery.may_send_history(now):
            return False
        rate = self._config.history_metrics_per_second
        self._tokens = min(max(1.0, rate * HISTORY_BURST_S), self._tokens + (now - self._tokens_at) / 1e9 * rate)
        self._tokens_at = now
        rows_max = 1 if self._delivery.starved else min(HISTORY_ROWS_PER_TURN, max(1, int(rate * HISTORY_BURST_S)))
        if self._tokens < rows_max:
            return False
        position, below = self._delivery.history_position, self._delivery.live_start
        rows = await self._store.call(self._store.store.read, position, below, rows_max=rows_max)
        if position != self._delivery.history_position or below != self._delivery.live_start or not self._is_online:
            return True
        if not len(rows):
            self._delivery.history_exhausted(self._clock.steady_ns())
            return False
        self._tokens -= len(rows)
        self._publish("history", position, rows)
        return True

    @property
    def _is_online(self) -> bool:
        return self._session.state is EdgeState.ONLINE

    def _next_live(self) -> StoredRows:
        rows = self._live.popleft()
        self._live_rows -= len(rows)
        return rows

    def _publish(self, cursor: Cursor, from_id: int, rows: StoredRows) -> None:
        """Put the rows that the cursor reads at ``from_id`` into the session, and count its messages."""
        devices = {self._definition.device_of[metric] for metric in set(rows.metrics)}
        self._births.require((device for device in devices if device is not None), self._clock.now_ns())
        payloads = plan_payloads(
            rows,
            device_of=self._definition.device_of,
            time_source_of=self._definition.time_source_of,
            bindings=self._births.bindings,
            is_historical=cursor == "history",
            metrics_max=self._config.metrics_per_payload_max,
        )
        now_ns = self._clock.now_ns()
        messages = [self._session.publish_data(payload.device_id, payload.batch, now_ns) for payload in payloads]
        self._counters.data_messages += len(messages)
        self._delivery.sent(
            cursor,
            from_id=from_id,
            next_id=rows.next_id,
            messages=len(messages),
            digest=sum(digest_of(message.payload) for message in messages),
            now_ns=self._clock.steady_ns(),
        )
