"""docs/reference/doctor.md and broker-check.md show what the programs say."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tests.doctor import example
from uns.doctor import grader, memory, reading, reporting, verdicts
from uns.doctor.report import Finding, HostReport, NodeReport, Report, RequirementReport, Totals, TrafficReport
from uns.doctor.requirements import REASONS, REQUIREMENTS
from uns.runtime.broker_check.check import PROBES
from uns.runtime.broker_check.probing import CheckReport
from uns.runtime.broker_check.probing import Finding as ProbeFinding

ROOT = Path(__file__).resolve().parents[2]
DOCTOR = (ROOT / "docs" / "reference" / "doctor.md").read_text(encoding="utf-8")
BROKER = (ROOT / "docs" / "reference" / "broker-check.md").read_text(encoding="utf-8")


def fields(of: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(of)}


def words(page: str) -> set[str]:
    return set(re.findall(r"`([a-z_0-9]+)`", page))


def test_the_example_is_what_the_program_prints() -> None:
    assert f"```text\n{example.text()}```" in DOCTOR


def test_the_document_is_what_the_program_prints() -> None:
    assert f"```json\n{example.document()}\n```" in DOCTOR


def test_every_reason_why_an_id_cannot_be_seen_is_told_with_the_number_of_its_ids() -> None:
    for reason in REASONS.values():
        count = sum(requirement.why_unseen == reason for requirement in REQUIREMENTS)
        assert f"| {count} | {reason} |" in DOCTOR
    unseen = sum(bool(requirement.why_unseen) for requirement in REQUIREMENTS)
    assert f"{unseen} of the 299" in DOCTOR


def test_the_fields_of_the_documents_are_told() -> None:
    told = words(DOCTOR)
    assert fields(Finding) - {"subject"} <= told
    assert fields(RequirementReport) | fields(Totals) <= told
    assert fields(Report) - {"broker", "began", "ended", "seconds"} <= told
    assert fields(TrafficReport) | fields(NodeReport) | fields(HostReport) <= told
    assert fields(CheckReport) | fields(ProbeFinding) <= words(BROKER)


def test_the_bounds_are_told() -> None:
    for bound in (grader.NODES_MAX, memory.DEVICES_MAX, memory.NAMES_MAX, verdicts.FINDINGS_MAX):
        assert f"{bound:,}" in DOCTOR
    assert f"{grader.DATA_METRICS_PER_SECOND_MAX:,}" in DOCTOR
    assert f"{grader.BIRTH_METRICS_PER_SECOND_MAX:,}" in DOCTOR
    assert f"{memory.DEVICES_TOTAL_MAX:,}" in DOCTOR
    assert f"{grader.BIRTH_METRICS_PER_SECOND_MAX * grader.BIRTH_SECONDS_SAVED:,}" in DOCTOR
    assert (reading.PAYLOAD_BYTES_MAX, reading.DEPTH_MAX) == (1 << 20, 8)
    assert (reporting.STORM_BIRTHS, reporting.STORM_S, reporting.SILENT_S) == (5, 60, 60)
    assert (reporting.CLOCK_AHEAD_MS_MAX, reporting.CLOCK_BEHIND_MS_MAX) == (2_000, 5_000)


def test_every_probe_is_told() -> None:
    assert {probe.name for probe in PROBES} <= words(BROKER)
    for probe in PROBES:
        if probe.name == "keep_alive":
            assert all(text in BROKER for text in (probe.title, probe.means_not, probe.next_step))
