"""Documents that default everything a test is not about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.enrichment.builders import plant
from uns.bridges.b2mml.document import Limits
from uns.bridges.b2mml.schedule import ReadOptions, ScheduleReading, read_schedule

V0701 = "http://www.mesa.org/xml/B2MML"
V0600 = "http://www.mesa.org/xml/B2MML-V0600"
V0401 = "http://www.wbf.org/xml/B2MML-V0401"
CREATED = "2026-06-03T12:00:00Z"
RECEIVED = datetime(2026, 6, 3, 12, 1, tzinfo=UTC)


def job(
    job_id: str = "WO-1/0010",
    *,
    equipment: str = "reactor4",
    start: str = "2026-06-03T19:00:00Z",
    end: str = "2026-06-03T23:00:00Z",
    status: str = "Pending",
    quantity: str = "1250.500",
    unit: str = "KG",
    material: str = "FG-77",
    more: str = "",
    after_times: str = "",
) -> str:
    """One JobOrder that is valid against V0701."""
    return (
        f"<JobOrder><ID>{job_id}</ID><StartTime>{start}</StartTime><EndTime>{end}</EndTime>{after_times}"
        f"<WorkMasterID>RCP-7</WorkMasterID><WorkMasterVersion>3</WorkMasterVersion><Priority>5</Priority>{more}"
        f"<DispatchStatus>{status}</DispatchStatus>"
        "<JobOrderParameter><ID>Speed</ID><Value><ValueString>71.5</ValueString><DataType>decimal</DataType>"
        "<UnitOfMeasure>U/min</UnitOfMeasure></Value></JobOrderParameter>"
        f"<EquipmentRequirement><ID>1</ID><EquipmentID>{equipment}</EquipmentID></EquipmentRequirement>"
        f"<MaterialRequirement><ID>1</ID><MaterialDefinitionID>{material}</MaterialDefinitionID>"
        f"<MaterialUse>Produced</MaterialUse><Quantity><QuantityString>{quantity}</QuantityString>"
        f"<DataType>decimal</DataType><UnitOfMeasure>{unit}</UnitOfMeasure></Quantity></MaterialRequirement>"
        "<SegmentRequirementID>0010</SegmentRequirementID></JobOrder>"
    )


def request(*jobs: str, work_order: str = "WO-1", more: str = "") -> str:
    return f"<WorkRequest><ID>{work_order}</ID>{more}{''.join(jobs) or job()}</WorkRequest>"


def schedule(
    *requests: str,
    verb: str = "Sync",
    namespace: str = V0701,
    created: str = CREATED,
    action: str = "",
    released: str = ' releaseID="B2MML-V0701"',
    header: str = "",
) -> bytes:
    """A WorkSchedule in its envelope."""
    made = f"<CreationDateTime>{created}</CreationDateTime>" if created else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{verb}WorkSchedule xmlns="{namespace}"{released}>\n'
        f"<ApplicationArea><Sender><LogicalID>erp-1</LogicalID></Sender>{made}<BODID>b-1</BODID></ApplicationArea>\n"
        f"<DataArea><{verb}>{action}</{verb}><WorkSchedule><ID>S-7</ID>{header}\n"
        + "\n".join(requests or (request(),))
        + f"\n</WorkSchedule></DataArea></{verb}WorkSchedule>"
    ).encode()


def options(**fields: Any) -> ReadOptions:
    values: dict[str, Any] = {"tree": plant(), "source": "erp", "received_at": RECEIVED}
    return ReadOptions(**(values | fields))


def read(body: bytes, *, limits: Limits | None = None, **fields: Any) -> ScheduleReading:
    return read_schedule(body, options(**fields), file="order.xml", limits=limits)


def rules(reading: ScheduleReading, severity: str = "error") -> list[str]:
    """The rules that were broken."""
    return [finding.rule for finding in reading.findings if finding.severity == severity]
