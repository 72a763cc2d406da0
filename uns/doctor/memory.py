"""What the grader remembers of nodes, devices and hosts between two messages. Every collection has a named bound.

Nothing here judges: the rules compare a message with this memory as it was before the message, then it is updated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from uns.doctor.reading import RawMetric
from uns.sparkplug.sequences import SEQ_MODULUS, seq_distance
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = [
    "DEVICES_MAX",
    "DEVICES_TOTAL_MAX",
    "NAMES_MAX",
    "Bounds",
    "DeviceMemory",
    "DoubtfulDeath",
    "HostMemory",
    "MetricMemory",
    "NodeMemory",
    "SeqStep",
    "cost_of",
    "fingerprint",
]

DEVICES_MAX = 2_000  # remembered of one node
DEVICES_TOTAL_MAX = 50_000  # remembered of all nodes together
NAMES_MAX = 500_000  # names of up to NAME_CHARACTERS remembered of all nodes together; a longer one counts as several
NAME_CHARACTERS = 64
LATE_MAX = 8  # how far behind a message still counts as late, not as a second step
_BD_SEQS = 8
_STATES = 8

Life = Literal["unknown", "alive", "dead"]


class Bounds(msgspec.Struct):
    """What is left of the bounds that all nodes share, and what did not fit."""

    names_left: int = NAMES_MAX
    devices_left: int = DEVICES_TOTAL_MAX
    names_forgotten: int = 0
    devices_forgotten: int = 0
    definitions_forgotten: int = 0


class MetricMemory(msgspec.Struct, gc=False):
    """A metric of a birth, and its newest value in the form of the wire, to see whether it changes."""

    alias: int | None
    datatype: int | None
    value: object = None


class DeviceMemory:
    """The births of one device; a node's own metrics are kept in one of these too.

    ``holders`` is shared by the node and all its devices: who has an alias, the first of them where several do. Each
    birth is held against it: a look at every other device would cost the square of what a large node announces.
    """

    __slots__ = ("aliases", "cost", "holders", "label", "life", "metrics", "names_known")

    def __init__(self, label: str, holders: dict[int, DeviceMemory]) -> None:
        self.label = label  # for people
        self.holders = holders
        self.life: Life = "unknown"
        self.names_known = False  # a birth was read whole
        self.cost = 0  # taken from the bound
        self.metrics: dict[str, MetricMemory] = {}
        self.aliases: dict[int, str] = {}

    def learn(self, metrics: list[RawMetric], *, whole: bool, bounds: Bounds) -> None:
        """Keep the names of a birth, in place of those of the one before."""
        self.forget(bounds)
        names = {metric.name for metric in metrics if metric.name is not None}
        cost = cost_of(names)
        if not whole or cost > bounds.names_left:
            bounds.names_forgotten += len(names)
            return
        for metric in metrics:
            if metric.name is not None:
                self.metrics[metric.name] = MetricMemory(metric.alias, metric.datatype, fingerprint(metric))
                if metric.alias is not None:
                    self.aliases[metric.alias] = metric.name
                    self.holders.setdefault(metric.alias, self)
        self.cost = cost
        bounds.names_left -= cost
        self.names_known = True

    def forget(self, bounds: Bounds) -> None:
        """Give the names back to the bound."""
        bounds.names_left += self.cost
        self.cost = 0
        self.metrics = {}
        for alias in self.aliases:
            if self.holders.get(alias) is self:
                del self.holders[alias]
        self.aliases = {}
        self.names_known = False

    def find(self, metric: RawMetric) -> tuple[str, MetricMemory] | None:
        """The metric of the birth that a metric of DATA or CMD means; None: the birth lacks it."""
        name = metric.name
        if not name and metric.alias is not None:
            name = self.aliases.get(metric.alias)
        if name is None or (known := self.metrics.get(name)) is None:
            return None
        return name, known


class SeqStep(msgspec.Struct, frozen=True):
    """How a seq follows the one before."""

    kind: Literal["first", "next", "gap", "again", "late"]
    missing: int = 0
    before: int = 0


class DoubtfulDeath(msgspec.Struct, frozen=True):
    """An NDEATH of an earlier bdSeq: the late Will of a session that was not seen, or the wrong number.

    What the node does next tells: it goes on, or it connects anew.
    """

    bd_seq: int
    born_as: int  # the bdSeq of the NBIRTH before it
    message: int
    now_ns: int


class NodeMemory:
    """One edge node as its messages tell it."""

    CHANGES_MIN = 100  # values to compare before their share is judged

    def __init__(self, descriptor: EdgeNodeDescriptor, now_ns: int) -> None:
        self.descriptor = descriptor
        self.life: Life = "unknown"
        self.alias_holders: dict[int, DeviceMemory] = {}
        self.own = DeviceMemory("the edge node", self.alias_holders)
        self.devices: dict[str, DeviceMemory] = {}
        self.folded: dict[str, str] = {}  # device id without its case to the first one of these
        self.definitions: dict[str, tuple[frozenset[str], frozenset[str]]] | None = None
        self.definitions_cost = 0

        self.seq: int | None = None
        self.missing: deque[int] = deque(maxlen=LATE_MAX)
        self.bd_seq: int | None = None  # of the newest NBIRTH
        self.bd_seqs: deque[int] = deque(maxlen=_BD_SEQS)  # of NBIRTHs, each change one entry
        self.turns: deque[int] = deque(maxlen=4)  # the same, since its last death
        self.connect_bd_seq: int | None = None  # the newest of NBIRTH and NDEATH
        self.died_since_birth = False
        self.doubtful: DoubtfulDeath | None = None
        self.unended: deque[int] = deque(maxlen=_BD_SEQS)  # sessions that another one followed, without an NDEATH yet
        self.ended_silently = 0

        self.data_since_birth = 0
        self.awaited: set[str] = set()  # devices that a rebirth has to bring back
        self.rebirth_asked_ns: int | None = None

        self.first_ns = now_ns
        self.last_ns = now_ns
        self.messages = 0
        self.payload_bytes_max = 0
        self.births: deque[int] = deque(maxlen=64)  # receipt times of NBIRTHs
        self.nbirths = 0
        self.deaths = 0
        self.rebirths_asked = 0
        self.cleared = 0
        self.gaps = 0
        self.missed_messages = 0
        self.again = 0
        self.late = 0
        self.skew_ms_min: int | None = None
        self.skew_ms_max: int | None = None
        self.changes: dict[str, tuple[int, int]] = {}  # by message type: values compared, and those that were the same
        self.marks = 0
        self.marks_without_data = 0
        self.data_since_mark = 1  # what the first mark counts may have come before the watch
        self.confirms = 0
        self.refusals = 0
        self.first_unconfirmed_ns: int | None = None

    def device(self, device_id: str | None, bounds: Bounds) -> DeviceMemory | None:
        """The memory of a device, made where there is room; of the node itself for None."""
        if device_id is None:
            return self.own
        found = self.devices.get(device_id)
        if found is None:
            if len(self.devices) >= DEVICES_MAX or not bounds.devices_left:
                bounds.devices_forgotten += 1
                return None
            bounds.devices_left -= 1
            found = self.devices[device_id] = DeviceMemory(f"device {device_id!r}", self.alias_holders)
        return found

    def step(self, seq: int) -> SeqStep:
        """How ``seq`` follows; nothing is changed."""
        before = self.seq
        if before is None:
            return SeqStep("first")
        ahead = seq_distance(before, seq)
        if ahead == 1:
            return SeqStep("next", before=before)
        if seq in self.missing:
            return SeqStep("late", before=before)
        if ahead == 0:
            return SeqStep("again", before=before)
        return SeqStep("gap", missing=ahead - 1, before=before)

    def take_step(self, seq: int) -> None:
        """Remember ``seq``."""
        step = self.step(seq)
        match step.kind:
            case "gap":
                self.gaps += 1
                self.missed_messages += step.missing
                self.missing.extend((seq - back) % SEQ_MODULUS for back in range(min(step.missing, LATE_MAX), 0, -1))
            case "late":
                self.late += 1
                self.missed_messages -= 1
                self.missing.remove(seq)
                return
            case "again":
                self.again += 1
            case _:
                pass
        self.seq = seq

    def break_off(self, bounds: Bounds) -> None:
        """The listener itself may have missed messages, births too: nothing is held against the node until its next."""
        self.seq = None
        self.missing.clear()
        self.life = "unknown"
        self.died_since_birth = False
        self.doubtful = None
        self.bd_seq = self.connect_bd_seq = None  # connections that were missed had numbers too
        self.bd_seqs.clear()
        self.turns.clear()
        self.unended.clear()
        self.rebirth_asked_ns = None
        self.first_unconfirmed_ns = None
        self.awaited.clear()
        self.data_since_mark = 1  # of what the next mark counts, some may have been missed
        for device in (self.own, *self.devices.values()):
            device.life = "unknown"
            device.forget(bounds)


class HostMemory:
    """One host application as its STATE messages tell it."""

    def __init__(self, host_id: str) -> None:
        self.host_id = host_id
        self.online: bool | None = None
        self.timestamp: int | None = None
        self.online_times: deque[int] = deque(maxlen=_STATES)
        self.changes = 0
        self.live = 0
        self.retained_seen = False
        self.legacy = ""  # the text on the topic of version 2.2
        self.v3_seen = False
        self.problem = ""  # the newest STATE that was none
        self.skew_ms: int | None = None  # its clock against ours when it came online
        self.old_deaths = 0  # older than its newest birth
        self.newest = 0  # the hash of the newest payload, to know it again where the broker hands it out once more


def cost_of(names: Iterable[str]) -> int:
    """What names take of ``NAMES_MAX``."""
    return sum(1 + len(name) // NAME_CHARACTERS for name in names)


def fingerprint(metric: RawMetric) -> object:
    """What is compared to see a change: the value as the wire has it; structures are never taken as equal."""
    if metric.is_null:
        return "null"
    held = metric.value
    if held is None or held.field in {"dataset_value", "template_value", "extension_value"}:
        return object()
    return hash(held.value) if isinstance(held.value, bytes) and len(held.value) > 16 else held.value
