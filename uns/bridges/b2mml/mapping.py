"""What B2MML says and what it means here: states, equipment, the fact that a job order becomes, keys of responses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from uns.context.facts import Fact
from uns.context.records import DispatchStatus, JobOrder, RequestState
from uns.namespace.model import Equipment, TopicTree

__all__ = ["EquipmentNames", "definition", "definition_state", "fact_id", "joined", "response_id", "revision_of_time"]

# Planned is not actual: whatever an order says of the past, it defines a job. What began, the plant itself tells.
# An order that ended for its sender stays a definition: taking it away would restate the runs that were named after it.
_DEFINITION_STATES: Mapping[str, str] = {
    RequestState.FORECAST: "forecast",
    RequestState.RELEASED: "released",
    RequestState.WAITING: "waiting",
    DispatchStatus.PENDING: "pending",
    DispatchStatus.DISPATCHED: "dispatched",
    RequestState.READY: "ready",
    RequestState.CANCELLED: "cancelled",
}


def definition_state(status: DispatchStatus | RequestState) -> tuple[str, bool]:
    """(state of the definition, whether that is what the document said)."""
    state = _DEFINITION_STATES.get(status)
    return ("released", False) if state is None else (state, True)


def revision_of_time(moment: datetime) -> str:
    """``source_rev`` of a statement made at a time: microseconds since 1970, so that the later one counts."""
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return str(max(microseconds, 0))


def definition(
    job: JobOrder, *, equipment: str, state: str, valid_from: datetime, valid_to: datetime | None, by: str
) -> Fact:
    """The fact of kind ``job`` that a job order becomes. Its id depends on nothing but the document's own ids."""
    recipe = job.work_master
    if recipe is not None and job.work_master_version is not None:
        recipe = f"{recipe}@{job.work_master_version}"
    return Fact(
        id=fact_id(job.work_order, job.job_order),
        kind="job",
        equipment=equipment,
        valid_from=valid_from,
        valid_to=valid_to,
        source=job.source,
        source_rev=job.source_rev,
        by=by,
        state=state,
        job_order=job.job_order,
        work_order=job.work_order,
        operation=job.operation,
        recipe=recipe,
    )


def fact_id(work_order: str | None, job_order: str) -> str:
    """The id of the fact that an order becomes."""
    return joined(*(() if work_order is None else (work_order,)), job_order)


def joined(*parts: str) -> str:
    r"""Several ids as one text, different ones as different texts: a ``|`` within an id is written ``\|``."""
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def response_id(job_order: str, revision: int, *, site: str = "") -> str:
    """The key of one response of a job: the same job and revision give the same key, on every machine, for ever."""
    text = f"uns1.job_response\0{site}\0{job_order}\0{revision}"
    return str(UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=5))


class EquipmentNames:
    """Finds the equipment that a document means.

    ``aliases`` (the sender's code to our id) come first, then ids, then the last names of paths where only one
    equipment has that name.
    """

    def __init__(self, tree: TopicTree, aliases: Mapping[str, str]) -> None:
        self._tree = tree
        self._aliases = aliases
        self._by_name: dict[str, str | None] = {}
        for equipment in tree.equipment.values():
            name = equipment.path[-1]
            self._by_name[name] = None if name in self._by_name else equipment.id
        self._by_path = {equipment.path_text: equipment.id for equipment in tree.equipment.values()}

    def find(self, code: str) -> str | None:
        """The id for a code of the document; None if there is none."""
        found = self._aliases.get(code, code)
        if found in self._tree.equipment:
            return found
        return self._by_path.get(code) or self._by_name.get(code)

    def known(self) -> list[str]:
        """Everything that may be written, for suggestions."""
        return [*self._aliases, *self._tree.equipment]

    def is_site(self, code: str) -> bool:
        """Whether a code names a site or the enterprise: right in a document, but no equipment a job could hold at."""
        return code in self._tree.sites or code == self._tree.enterprise

    def common(self, ids: Iterable[str]) -> str | None:
        """The nearest equipment that all of these are, or stand in."""
        shared: list[Equipment] | None = None
        for equipment_id in ids:
            lineage = self._tree.lineage(equipment_id)
            shared = list(lineage) if shared is None else [level for level in shared if level in lineage]
        return shared[0].id if shared else None

    def zone_of(self, equipment_id: str | None) -> str | None:
        """The time zone of an equipment's site; without an equipment that of all sites, if they have one."""
        if equipment_id is not None:
            return self._tree.sites[self._tree.equipment[equipment_id].site].time_zone or None
        zones = {site.time_zone for site in self._tree.sites.values()}
        return zones.pop() or None if len(zones) == 1 else None
