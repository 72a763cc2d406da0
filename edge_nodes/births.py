"""Births and deaths of a gateway and its devices: who is alive, what of them waits, and the bindings that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from edge_nodes.counters import PublisherCounters
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import StoreThread
from edge_nodes.node_file import NodeConfig
from edge_nodes.rows import LastSample
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.metrics import MetricBinding

__all__ = ["Births"]


class Births:
    """Makes the births of one session after the other; ``bindings`` are those of the births that stand.

    ``last`` is the newest stored sample of each metric, which its owner keeps up to date.
    """

    def __init__(
        self,
        config: NodeConfig,
        definition: Definition,
        session: EdgeNodeSession,
        *,
        store: StoreThread,
        last: Mapping[int, LastSample],
        counters: PublisherCounters,
    ) -> None:
        self._definition = definition
        self._session = session
        self._store = store
        self._last = last
        self._counters = counters
        self._current_names = metric_names(config)
        self._begun_at_id: int = store.store.next_id  # all rows of retired metrics are below
        self._up_sources: set[str] = set()
        self._history_devices: set[str] = set()  # born only because rows of theirs wait
        self._log = structlog.get_logger(component="publisher")
        self.bindings: dict[int, MetricBinding] = {}

    def source_changed(self, source: str, *, is_up: bool) -> None:
        """Devices are born and die with their sources; :meth:`update_devices` does it."""
        (self._up_sources.add if is_up else self._up_sources.discard)(source)

    def session_ended(self) -> None:
        """Nothing is born any more."""
        self._history_devices.clear()

    def bear_node(self, now_ns: int) -> list[str]:
        """NBIRTH, and a DBIRTH for each device that is up or was born in this session. Gives these devices."""
        devices = set(self._definition.devices)
        alive = sorted({device for device in devices if self._is_up(device)} | (self._session.devices & devices))
        self._session.birth(self._definition.node_birth(alive, self._last), now_ns)
        self._counters.births += 1
        self._counters.device_births += len(alive)
        self.bindings = self._definition.bind(None, self._session.bindings(None))
        for device in alive:
            self.bindings |= self._definition.bind(device, self._session.bindings(device))
        return alive

    def require(self, devices: Iterable[str], now_ns: int) -> None:
        """Bear those that are not: rows of theirs are to be sent, whether anything reads them or not."""
        for device in devices:
            if device not in self._session.devices:
                self._history_devices.add(device)
                self._bear_device(device, now_ns)

    def update_devices(self, now_ns: int, *, history_done: bool) -> None:
        """Bear devices whose source came; end those whose sources are all gone and whose rows are on their way."""
        for device in sorted(self._session.devices.union(self._definition.devices)):
            is_born, is_up = device in self._session.devices, self._is_up(device)
            if is_up:
                self._history_devices.discard(device)
            if is_up and not is_born:
                self._bear_device(device, now_ns)
                self._log.info("device born", device=device)
            elif is_born and not is_up and (history_done or device not in self._history_devices):
                self._session.device_death(device, now_ns)
                self._history_devices.discard(device)
                self._counters.device_deaths += 1
                self._log.warning("device died: no source reaches it", device=device)

    async def look_for_retired(self) -> None:
        """Retired metrics whose last values were just confirmed are not announced again.

        To look for rows of theirs is to read the whole backlog: that is done when its oldest row has gone past the last
        one that was there at the start, which is then above all of theirs.
        """
        if not self._definition.retired or await self._store.call(self._store.store.first_id) < self._begun_at_id:
            return
        waiting = await self._store.call(self._store.store.orphans, self._current_names)
        self._definition.keep_retired(waiting)

    def _is_up(self, device: str) -> bool:
        return not self._definition.sources_of_device[device].isdisjoint(self._up_sources)

    def _bear_device(self, device: str, now_ns: int) -> None:
        self._session.device_birth(device, self._definition.device_birth(device, self._last), now_ns)
        self.bindings |= self._definition.bind(device, self._session.bindings(device))
        self._counters.device_births += 1
