"""What this gateway can say: its metrics by number, and the births made of them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from edge_nodes.backlog import sample_properties
from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.node_file import NodeConfig
from edge_nodes.reduction import Reduction
from edge_nodes.retired import RetiredMetric, retired_birth
from edge_nodes.rows import GAP, LastSample, MetricName
from edge_nodes.wiring import MetricKey, MetricWiring, TimeLimits
from uns.delivery.messages import GAP_METRIC
from uns.namespace.mapping import device_properties, metric_properties
from uns.source import PROPERTY_FUTURE_MAX, PROPERTY_PAST_MAX, PROPERTY_TIME_SOURCE, TimeSource
from uns.sparkplug.codec import PAYLOAD_BYTES_MAX, encode_birth
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import NodeBirth
from uns.sparkplug.metrics import BirthMetric, MetricBinding, Property

__all__ = ["Definition", "metric_names"]

ALIAS_BYTES = 12  # of a metric, which the session adds; with room to spare
_LONGEST_SAMPLE: LastSample = ((2**63 - 1) // 1_000_000 * 1_000_000, 2**32 - 1, None, 2**32 - 1, int(TimeSource.SERVER))


def metric_names(config: NodeConfig) -> list[MetricName]:
    """The store's names of all metrics, in the order of ``config.metrics``."""
    return [MetricName(w.equipment, w.contract.name, w.contract.datatype) for w in config.metrics]


class _Metric(msgspec.Struct, frozen=True):
    number: int
    wiring: MetricWiring
    properties: tuple[Property, ...]
    time_source: TimeSource


class Definition:
    """The metrics of a gateway under the numbers that its store gave them.

    ``retired`` are metrics of earlier definitions whose values still wait: births announce them, too.
    """

    def __init__(self, config: NodeConfig, numbers: Iterable[int], retired: Sequence[RetiredMetric] = ()) -> None:
        self._config = config
        self._sources = {source.options.name: source for source in config.sources}
        self._metrics: dict[int, _Metric] = {}
        self._by_device: dict[str, list[_Metric]] = {}
        self.numbers: dict[MetricKey, int] = {}
        self.devices_of_source: dict[str, set[str]] = {name: set() for name in self._sources}
        self.sources_of_device: dict[str, set[str]] = {}
        for wiring, number in zip(config.metrics, numbers, strict=True):
            source = self._sources[wiring.source]
            time_source = TimeSource.GATEWAY if isinstance(source, ModbusConfig) else TimeSource.DEVICE
            metric = _Metric(
                number,
                wiring,
                (
                    *metric_properties(wiring.contract, source_address=wiring.address),
                    *_time_properties(time_source, source.options.limits),
                ),
                time_source,
            )
            self._metrics[number] = metric
            self._by_device.setdefault(wiring.equipment, []).append(metric)
            self.numbers[wiring.key] = number
            self.devices_of_source[wiring.source].add(wiring.equipment)
            self.sources_of_device.setdefault(wiring.equipment, set()).add(wiring.source)
        self._properties = {
            device: device_properties(config.tree, config.tree.equipment[device])
            for device in dict.fromkeys([*self._by_device, *(metric.was.device_id for metric in retired)])
            if device in config.tree.equipment
        }
        self.device_of: dict[int, str | None] = {n: m.wiring.equipment for n, m in self._metrics.items()}
        self.device_of[GAP] = None
        self._text_room: dict[str, int] = {}
        self.time_source_of: dict[int, int] = {n: int(m.time_source) for n, m in self._metrics.items()}
        self.time_source_of[GAP] = int(TimeSource.GATEWAY)
        self._retired: dict[str, list[RetiredMetric]] = {}
        for old in retired:
            self._retired.setdefault(old.was.device_id, []).append(old)
            self.device_of[old.number] = old.was.device_id
            self.time_source_of[old.number] = int(TimeSource.DEVICE)  # who read it is not known any more: rows say it
            self.sources_of_device.setdefault(old.was.device_id, set())

    @property
    def devices(self) -> list[str]:
        """Equipment ids, in the order of the node file; then those of which only old values wait."""
        return list(dict.fromkeys([*self._by_device, *self._retired]))

    @property
    def retired(self) -> list[RetiredMetric]:
        """Metrics of earlier definitions whose values wait."""
        return [metric for metrics in self._retired.values() for metric in metrics]

    def keep_retired(self, waiting: Collection[MetricName]) -> None:
        """From the next birth on, announce only those retired metrics that are among ``waiting``."""
        kept = {device: [m for m in metrics if m.was in waiting] for device, metrics in self._retired.items()}
        self._retired = {device: metrics for device, metrics in kept.items() if metrics}

    @property
    def definition_hash(self) -> str:
        """Changes when a birth of this gateway would define something else."""
        text = msgspec.json.encode([(m.wiring, str(m.properties)) for m in self._metrics.values()])
        return hashlib.sha256(text).hexdigest()

    def reductions(self) -> dict[int, Reduction]:
        """How each metric is reduced."""
        return {
            number: Reduction(
                self._sources[metric.wiring.source].options.reduction, metric.wiring.contract.deadband or 0.0
            )
            for number, metric in self._metrics.items()
        }

    def numbers_of_source(self, source: str) -> list[int]:
        """The metrics that a source feeds."""
        return [number for number, metric in self._metrics.items() if metric.wiring.source == source]

    def name_of(self, number: int) -> str:
        """For people."""
        wiring = self._metrics[number].wiring
        return f"{wiring.equipment}/{wiring.contract.name}"

    # ── births ──────────────────────────────────────────────────────────────────────────────────────────────────

    def node_birth(self, devices: Iterable[str], last: Mapping[int, LastSample]) -> NodeBirth:
        """NBIRTH and the DBIRTHs of ``devices``."""
        metrics = [
            BirthMetric(name="Properties/gateway", datatype=DataType.STRING, value=self._config.gateway),
            BirthMetric(
                name="Properties/contract_hash", datatype=DataType.STRING, value=self._config.tree.contract_hash
            ),
            BirthMetric(name=GAP_METRIC, datatype=DataType.STRING),
        ]
        return NodeBirth(metrics, {device: self.device_birth(device, last) for device in devices})

    def device_birth(self, device: str, last: Mapping[int, LastSample]) -> list[BirthMetric]:
        """Every metric of the device with its last stored sample, null where there is none yet.

        Texts that would make the birth too long for any payload are shown as null too: without a birth nothing goes.
        """
        found = list(self._properties.get(device, ()))
        text_room = self._text_room_of(device)
        for metric in self._by_device.get(device, ()):
            contract = metric.wiring.contract
            sample = last.get(metric.number)
            text_room -= _text_bytes(sample)
            if text_room < 0 and _text_bytes(sample):
                sample = None
            if sample is None:
                found.append(BirthMetric(name=contract.name, datatype=contract.datatype, properties=metric.properties))
                continue
            time_ns, ordinal, value, status_code, time_source = sample
            found.append(
                BirthMetric(
                    name=contract.name,
                    datatype=contract.datatype,
                    value=value,
                    timestamp_ms=time_ns // 1_000_000,
                    properties=(
                        *metric.properties,
                        *sample_properties(ordinal, status_code),
                        *_other_clock(time_source, metric.time_source),
                    ),
                )
            )
        for old in self._retired.get(device, ()):
            sample = last.get(old.number)
            text_room -= _text_bytes(sample)
            found.append(retired_birth(old, None if text_room < 0 and _text_bytes(sample) else sample))
        return found

    def longest_samples(self) -> dict[int, LastSample]:
        """Last samples that make births as long as they can become, but for their texts."""
        return dict.fromkeys([*self._metrics, *(metric.number for metric in self.retired)], _LONGEST_SAMPLE)

    def _text_room_of(self, device: str) -> int:
        if device not in self._text_room:
            self._text_room[device] = 0  # there are no texts in what follows
            birth = self.device_birth(device, self.longest_samples())
            size = len(encode_birth(birth, timestamp_ms=0, seq=255)) + ALIAS_BYTES * len(birth)
            self._text_room[device] = max(0, PAYLOAD_BYTES_MAX - size)
        return self._text_room[device]

    def bind(self, device: str | None, bindings: Mapping[str, MetricBinding]) -> dict[int, MetricBinding]:
        """The bindings of a birth by metric number."""
        if device is None:
            return {GAP: bindings[GAP_METRIC]}
        found = {m.number: bindings[m.wiring.contract.name] for m in self._by_device.get(device, ())}
        return found | {m.number: bindings[m.name] for m in self._retired.get(device, ())}


def _text_bytes(sample: LastSample | None) -> int:
    value = None if sample is None else sample[2]
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0


def _time_properties(time_source: TimeSource, limits: TimeLimits) -> list[Property]:
    found = []
    if time_source is not TimeSource.DEVICE:
        found.append(Property(PROPERTY_TIME_SOURCE, DataType.STRING, time_source.label))
    for key, value in ((PROPERTY_PAST_MAX, limits.past_max_ms), (PROPERTY_FUTURE_MAX, limits.future_max_ms)):
        if value is not None:
            found.append(Property(key, DataType.INT64, value))
    return found


def _other_clock(found: int, usual: TimeSource) -> tuple[Property, ...]:
    # A birth has one set of properties: what the last sample says of its clock must not stand twice.
    return sample_properties(0, 0, found) if found != usual and usual is TimeSource.DEVICE else ()
