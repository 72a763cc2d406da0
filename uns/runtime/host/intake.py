"""From Sparkplug events to samples of equipment: the last step before the enricher. No I/O.

One :class:`DeviceReader` per birth knows, for each metric that the birth defined, what the tree says of it; a payload
then costs one look-up per value. What cannot become a sample keeps its reason: *rejected* (the codec could not read it,
or it has another type than the tree says) or *unmapped* (the tree does not know it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from uns.enrichment.pipeline import FUTURE_MAX_NS, PAST_MAX_NS
from uns.enrichment.samples import Provenance, Quality, SampleBatch, UnrecordedSample
from uns.namespace.mapping import PROPERTIES_FOLDER, DeviceMapping, map_birth
from uns.namespace.model import MetricContract, TopicTree
from uns.source import PROPERTY_FUTURE_MAX, PROPERTY_PAST_MAX, PROPERTY_TIME_SOURCE, UNLIMITED
from uns.sparkplug.datatypes import SCALARS, DataType, Value
from uns.sparkplug.documents import to_json
from uns.sparkplug.metrics import (
    BD_SEQ,
    PROPERTY_ORDINAL,
    PROPERTY_QUALITY,
    PROPERTY_STATUS_CODE,
    BirthMetric,
    BirthPayload,
    DataPayload,
    MetricBinding,
    MetricValue,
    PropertyContent,
    RejectedMetric,
)
from uns.sparkplug.topics import DeviceDescriptor, EdgeNodeDescriptor

__all__ = ["Clock", "DeviceReader", "Work", "is_protocol_metric", "malformed_work"]

TimeSource = Literal["device", "server", "gateway"]

NS_PER_MS = 1_000_000
_PROTOCOL_PREFIXES = ("Node Control/", "Device Control/", "uns/", PROPERTIES_FOLDER)
_QUALITY_STALE = 500
_QUALITY_GOOD = 192
_UNCERTAIN = 1  # the two highest bits of an OPC UA status, and of Ignition's codes
_IGNITION_STALE = 516  # the low half of Bad_Stale
_OPC_DA_MAX = 255
_STATUS_BAD = 0x8000_0000
_UINT32_MAX = (1 << 32) - 1
_TIME_SOURCES = frozenset({"device", "server", "gateway"})


class Clock(msgspec.Struct, frozen=True, gc=False):
    """Whose clock stamped samples, and how far its stamps are believed (None: without limit)."""

    time_source: TimeSource = "device"
    past_max_ns: int | None = PAST_MAX_NS
    future_max_ns: int | None = FUTURE_MAX_NS


class Work(msgspec.Struct, kw_only=True):
    """What one payload means. ``samples`` is what it adds to ``received``; births add nothing there."""

    batches: list[tuple[SampleBatch, Clock]] = []
    rejected: list[UnrecordedSample] = []
    unmapped: list[UnrecordedSample] = []
    provenance: Provenance
    samples: int = 0
    gaps: list[str] = []  # values of uns/gap


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What a metric of a birth is to us. Exactly one of the three holds."""

    contract: MetricContract | None = None
    refusal: str = ""  # "unmapped", or why its values are rejected
    protocol: bool = False
    clock: Clock = Clock()
    retired: str = ""  # the type of a metric that its gateway defines no more: beside it there may be one of its name


class DeviceReader:
    """Reads the births and data of one device (``device_id`` None: of the node itself) under the tree."""

    def __init__(
        self, tree: TopicTree, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload, *, ours: bool
    ) -> None:
        self.edge_node = edge_node
        self.device_id = device_id
        self.ours = ours
        if device_id is None:  # metrics of the node itself have no equipment under the default mapping
            own = tuple(m.name for m in birth.metrics if m.datatype in SCALARS and not is_protocol_metric(m.name))
            self.mapping = DeviceMapping(equipment=None, unmapped=own)
        else:
            recordable = [metric for metric in birth.metrics if metric.datatype in SCALARS]
            self.mapping = map_birth(tree, DeviceDescriptor(edge_node, device_id), recordable)
        self.equipment = "" if self.mapping.equipment is None else self.mapping.equipment.id
        self._by_name = {metric.name: self._known(metric) for metric in birth.metrics}
        self._by_binding: dict[MetricBinding, _Known] = {}
        # The commonest clock of the device, and its metrics: a payload of these alone is read fast.
        self._clock = next((known.clock for known in self._by_name.values() if known.contract is not None), Clock())
        self._contracts: dict[MetricBinding, MetricContract] = {}

    def addresses(self, birth: BirthPayload, key: str) -> dict[str, str]:
        """Metric to the text of property ``key`` of its birth."""
        found = {metric.name: metric.property_value(key) for metric in birth.metrics}
        return {name: text for name, text in found.items() if isinstance(text, str)}

    def read_data(self, data: DataPayload, provenance: Provenance) -> Work:
        """Samples of an NDATA or DDATA."""
        bindings = data.bindings
        count = len(bindings)
        if bindings and not data.properties and not data.rejected:
            contracts = self._contracts
            try:
                metrics = [contracts[binding] for binding in bindings]
            except KeyError:
                pass
            else:  # the common payload: all of it mapped, all of it good
                batch = SampleBatch(
                    equipment=self.equipment,
                    metrics=metrics,
                    values=cast("list[Value]", data.values),  # what the tree has contracts for are scalars
                    times_ns=[time_ms * NS_PER_MS for time_ms in data.times_ms],
                    time_source=self._clock.time_source,
                    ours=self.ours,
                    provenance=provenance,
                )
                return Work(batches=[(batch, self._clock)], provenance=provenance, samples=count)
        return self._read_slowly(data, provenance)

    def read_birth(self, birth: BirthPayload, provenance: Provenance) -> Work:
        """The values that a birth shows: each is a sample that was seen, or one that was missed."""
        columns = _Columns(self, provenance, origin="birth")
        for metric in birth.metrics:
            known = self._by_name[metric.name]
            if known.contract is None or metric.timestamp_ms is None:
                continue
            properties = {one.key: one.value for one in metric.properties}
            if metric.value is None and not properties.get(PROPERTY_STATUS_CODE):
                continue  # null: there is no sample yet
            columns.add(known, metric.value, metric.timestamp_ms, properties)
        return Work(batches=columns.batches(), provenance=provenance)

    def _known(self, metric: BirthMetric) -> _Known:
        name = metric.name
        if is_protocol_metric(name):
            return _Known(protocol=True)
        if (contract := self.mapping.contracts.get(name)) is not None:
            return _Known(contract=contract, clock=_clock_of(metric))
        if (contract := self.mapping.retired.get(name)) is not None:
            return _Known(contract=contract, clock=_clock_of(metric), retired=metric.datatype.label)
        if metric.datatype not in SCALARS:
            return _Known(refusal="unsupported_type")  # arrays, tables, templates: read, and not recorded as values
        if name in self.mapping.mistyped:
            return _Known(refusal="type_differs_from_tree")
        return _Known(refusal="unmapped")

    def _resolve(self, binding: MetricBinding) -> _Known:
        known = self._by_binding.get(binding)
        if known is None:
            known = self._by_name.get(binding.name) or _Known(refusal="unmapped")
            self._by_binding[binding] = known
            if known.contract is not None and known.clock == self._clock and not known.retired:
                self._contracts[binding] = known.contract
        return known

    def _read_slowly(self, data: DataPayload, provenance: Provenance) -> Work:
        columns = _Columns(self, provenance, origin="data")
        work = Work(provenance=provenance, rejected=[_rejected(metric) for metric in data.rejected])
        for index, binding in enumerate(data.bindings):
            known = self._resolve(binding)
            value, time_ms = data.values[index], data.times_ms[index]
            if known.protocol:
                if binding.name == "uns/gap" and isinstance(value, str):
                    work.gaps.append(value)
                continue
            properties = data.properties.get(index, {})
            if known.contract is not None:
                columns.add(known, value, time_ms, properties)
                continue
            unrecorded = UnrecordedSample(
                metric=binding.name,
                source_time_ns=time_ms * NS_PER_MS,
                ordinal=_ordinal(properties.get(PROPERTY_ORDINAL)),
                reason=known.refusal,
                raw=_raw(value, properties),
            )
            (work.unmapped if known.refusal == "unmapped" else work.rejected).append(unrecorded)
        work.batches = columns.batches()
        work.samples = columns.count + len(work.rejected) + len(work.unmapped)
        return work


class _Columns:
    """Collects samples of one payload, apart by clock; what is retired, by type: a batch has a metric in one type."""

    def __init__(self, reader: DeviceReader, provenance: Provenance, *, origin: Literal["data", "birth"]) -> None:
        self._reader = reader
        self._provenance = provenance
        self._origin: Literal["data", "birth"] = origin
        self._open: dict[tuple[Clock, str], SampleBatch] = {}
        self.count = 0

    def add(self, known: _Known, value: MetricValue, time_ms: int, properties: dict[str, PropertyContent]) -> None:
        if known.contract is None:
            return
        clock = known.clock
        told = properties.get(PROPERTY_TIME_SOURCE)
        if told != clock.time_source and told in _TIME_SOURCES:
            clock = msgspec.structs.replace(clock, time_source=cast("TimeSource", told))
        batch = self._open.get((clock, known.retired))
        if batch is None:
            batch = self._open[clock, known.retired] = SampleBatch(
                equipment=self._reader.equipment,
                metrics=[],
                values=[],
                times_ns=[],
                time_source=clock.time_source,
                origin=self._origin,
                ours=self._reader.ours,
                provenance=self._provenance,
            )
        status_code = _status_code(properties.get(PROPERTY_STATUS_CODE))
        ordinal = _ordinal(properties.get(PROPERTY_ORDINAL))
        quality = quality_of(status_code, properties.get(PROPERTY_QUALITY))
        _widen(batch, quality, status_code, ordinal)
        batch.metrics.append(known.contract)
        batch.values.append(cast("Value", value))  # of its contract's type
        batch.times_ns.append(time_ms * NS_PER_MS)
        self.count += 1

    def batches(self) -> list[tuple[SampleBatch, Clock]]:
        return [(batch, clock) for (clock, _), batch in self._open.items()]


def _clock_of(metric: BirthMetric) -> Clock:
    told = metric.property_value(PROPERTY_TIME_SOURCE)
    return Clock(
        cast("TimeSource", told) if told in _TIME_SOURCES else "device",
        _limit_ns(metric.property_value(PROPERTY_PAST_MAX), PAST_MAX_NS),
        _limit_ns(metric.property_value(PROPERTY_FUTURE_MAX), FUTURE_MAX_NS),
    )


def _limit_ns(told: PropertyContent, usual_ns: int) -> int | None:
    limit_ms = _integer(told)
    if limit_ms == UNLIMITED:
        return None
    return usual_ns if limit_ms is None or limit_ms < 0 else limit_ms * NS_PER_MS


def _widen(batch: SampleBatch, quality: Quality, status_code: int, ordinal: int | None) -> None:
    """Append to the optional columns; each is made when the first value needs it."""
    count = len(batch.values)
    if batch.qualities is None and quality is not Quality.GOOD:
        batch.qualities = [Quality.GOOD] * count
    if batch.qualities is not None:
        batch.qualities.append(quality)
    if batch.status_codes is None and status_code:
        batch.status_codes = [0] * count
    if batch.status_codes is not None:
        batch.status_codes.append(status_code)
    if batch.ordinals is None and ordinal is not None:
        batch.ordinals = [None] * count
    if batch.ordinals is not None:
        batch.ordinals.append(ordinal)


def quality_of(status_code: int, quality: PropertyContent) -> Quality:
    """From an OPC UA status (its two highest bits), else from the property that Sparkplug has for it."""
    if status_code:
        severity = status_code >> 30
        return (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[severity & 3]
    code = _integer(quality)
    if code is None or code == _QUALITY_GOOD:
        return Quality.GOOD
    if code == _QUALITY_STALE:
        return Quality.STALE
    return _other_quality(code & 0xFFFF_FFFF)


def _other_quality(code: int) -> Quality:
    """Codes beyond the three of the standard: Ignition's, with the kind in the two highest bits, and OPC DA's 0 to 255.

    The code itself stays in the raw log.
    """
    if code >> 30:
        if code >> 30 == _UNCERTAIN:
            return Quality.UNCERTAIN
        return Quality.STALE if code & 0xFFFF == _IGNITION_STALE else Quality.BAD
    if code <= _OPC_DA_MAX:
        return (Quality.BAD, Quality.UNCERTAIN, Quality.BAD, Quality.GOOD)[code >> 6]
    return Quality.GOOD


def is_protocol_metric(name: str) -> bool:
    """bdSeq, control metrics, ``uns/…`` and ``Properties/…``: in no term of any equation."""
    return name == BD_SEQ or name.startswith(_PROTOCOL_PREFIXES)


def malformed_work(payload: bytes, reason: str, provenance: Provenance, *, samples: int = 1) -> Work:
    """A payload that nobody can read is one rejected sample: it has to be counted as something, and kept.

    ``samples``: as how many it was counted when it came, where it was readable then.
    """
    reason = f"malformed: {reason}"[:200]
    others = [f"raw log position {provenance.raw_position}, sample {n}".encode() for n in range(1, samples)]
    rejected = [
        UnrecordedSample(metric="", source_time_ns=None, reason=reason, raw=raw) for raw in (payload, *others)[:samples]
    ]
    return Work(rejected=rejected, provenance=provenance, samples=samples)


def _rejected(metric: RejectedMetric) -> UnrecordedSample:
    time_ns = None if metric.timestamp_ms is None else metric.timestamp_ms * NS_PER_MS
    return UnrecordedSample(metric=metric.name, source_time_ns=time_ns, reason=metric.reason, raw=metric.raw)


def _integer(value: PropertyContent) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ordinal(told: PropertyContent) -> int | None:
    """What is no UInt32 says nothing: the place in the payload counts then."""
    number = _integer(told)
    return None if number is None or not 0 <= number <= _UINT32_MAX else number


def _status_code(told: PropertyContent) -> int:
    """A UInt32, also where it came as Int32. A number that is no status at all must not pass for a good one."""
    number = _integer(told) or 0
    if -(1 << 31) <= number < 0:
        return number & _UINT32_MAX
    return number if 0 <= number <= _UINT32_MAX else _STATUS_BAD


def _raw(value: MetricValue, properties: dict[str, PropertyContent]) -> bytes:
    content: dict[str, object] = {"value": _plain(value)}
    if properties:
        content["properties"] = {key: _plain(one) for key, one in properties.items()}
    return msgspec.json.encode(content)


def _plain(value: MetricValue | PropertyContent) -> object:
    if isinstance(value, float):
        return value if value - value == 0.0 else str(value)
    return to_json(value)


def unmapped_report(mapping: DeviceMapping, birth: BirthPayload) -> dict[str, object] | None:
    """What ``_unmapped`` says of a birth; None where the tree knows all of it."""
    strange: Sequence[str] = (*mapping.unmapped, *mapping.mistyped)
    if not strange:
        return None
    types = {metric.name: metric.datatype for metric in birth.metrics}
    metrics = [
        {
            "metric": name,
            "type": types.get(name, DataType.UNKNOWN).label,
            "reason": "type_differs_from_tree" if name in mapping.mistyped else "unmapped",
        }
        for name in strange
    ]
    equipment = None if mapping.equipment is None else mapping.equipment.id
    return {"schema": "uns1.unmapped/1", "equipment": equipment, "metrics": metrics}
