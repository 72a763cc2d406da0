"""Which requirements the simulation reaches, and which checker holds each: ``python -m tests.simulation.reach``.

Reached is what a checker can see broken while the real sessions of both sides run; each checker breaks in
``test_planted.py``. What is not reached has a reason here, and its test stands in the ledger
(``tests/conformance/requirements.yaml``). ``test_reach.py`` holds that every ``tck-id`` is the one or the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.simulation.checkers import CHECKERS
from tests.simulation.checking import Seen
from tests.simulation.final import FINAL_TCK_IDS
from tests.simulation.host_checkers import HOST_CHECKERS

__all__ = ["NOT_REACHED", "all_requirements", "holders"]

LEDGER = Path(__file__).parents[1] / "conformance" / "requirements.yaml"

NOT_REACHED: dict[str, tuple[str, ...]] = {
    "the connections of the simulation speak MQTT 3.1.1": (
        "message-flow-phid-sparkplug-clean-session-50",
        "payloads-ndeath-will-message-publisher-disconnect-mqtt50",
        "principles-persistence-clean-session-50",
    ),
    "a duty of the installation; a second gateway breaks it, and what is promised holds all the same": (
        "case-sensitivity-metric-names",
        "case-sensitivity-sparkplug-ids",
        "intro-edge-node-id-uniqueness",
        "operational-behavior-host-application-host-id",
        "topic-structure-namespace-unique-device-id",
        "topic-structure-namespace-unique-edge-node-descriptor",
    ),
    "all metrics of its plants are of devices": (
        "operational-behavior-data-publish-nbirth",
        "operational-behavior-data-publish-nbirth-change",
        "payloads-ndata-order",
        "topics-nbirth-metric-reqs",
        "topics-ndata-payload",
    ),
    "values of its plants are numbers and texts": (
        "payloads-dataset-column-num-headers",
        "payloads-dataset-column-size",
        "payloads-dataset-parameter-type-req",
        "payloads-dataset-types-def",
        "payloads-dataset-types-num",
        "payloads-dataset-types-type",
        "payloads-dataset-types-value",
        "payloads-template-dataset-value",
        "payloads-template-definition-is-definition",
        "payloads-template-definition-members",
        "payloads-template-definition-nbirth",
        "payloads-template-definition-nbirth-only",
        "payloads-template-definition-parameters",
        "payloads-template-definition-parameters-default",
        "payloads-template-definition-ref",
        "payloads-template-instance-is-definition",
        "payloads-template-instance-members",
        "payloads-template-instance-members-birth",
        "payloads-template-instance-members-data",
        "payloads-template-instance-parameters",
        "payloads-template-instance-ref",
        "payloads-template-is-definition",
        "payloads-template-is-definition-definition",
        "payloads-template-is-definition-instance",
        "payloads-template-parameter-name-required",
        "payloads-template-parameter-name-type",
        "payloads-template-parameter-type-req",
        "payloads-template-parameter-type-value",
        "payloads-template-parameter-value",
        "payloads-template-parameter-value-type",
        "payloads-template-ref-definition",
        "payloads-template-ref-instance",
        "payloads-template-version",
        "topics-nbirth-templates",
    ),
    "decided by a part of the gateway that the simulation stands in for": (
        "operational-behavior-data-publish-dbirth-change",
        "operational-behavior-device-ddeath",
        "principles-rbe-recommended",
    ),
    "whoever leaves sends DISCONNECT": (
        "host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
    ),
    "an option, or something that may be": (
        "operational-behavior-edge-node-intentional-disconnect-packet",
        "operational-behavior-host-application-disconnect-intentional",
        "operational-behavior-host-reordering-param",
        "payloads-name-cmd-requirement",
    ),
    "the broker is simulated": (
        "conformance-mqtt-aware-basic",
        "conformance-mqtt-aware-dbirth-mqtt-retain",
        "conformance-mqtt-aware-dbirth-mqtt-topic",
        "conformance-mqtt-aware-nbirth-mqtt-retain",
        "conformance-mqtt-aware-nbirth-mqtt-topic",
        "conformance-mqtt-aware-ndeath-timestamp",
        "conformance-mqtt-aware-store",
        "conformance-mqtt-qos0",
        "conformance-mqtt-qos1",
        "conformance-mqtt-retained",
        "conformance-mqtt-will-messages",
    ),
}


def all_requirements() -> set[str]:
    """The ledger's ids, without their prefix."""
    lines = LEDGER.read_text(encoding="utf-8").splitlines()
    return {line[len("tck-id-") : -1] for line in lines if line.startswith("tck-id-")}


def holders() -> dict[str, list[str]]:
    """By id, without its prefix, the checkers that hold it."""
    claims = {checker.__name__: checker.tck_ids for checker in (Seen, *CHECKERS, *HOST_CHECKERS)} | FINAL_TCK_IDS
    found: dict[str, list[str]] = {}
    for name, tck_ids in claims.items():
        for tck_id in tck_ids:
            found.setdefault(tck_id.removeprefix("tck-id-"), []).append(name)
    return found


def main() -> int:
    held = holders()
    for tck_id, names in sorted(held.items()):
        print(f"{tck_id:<90} {', '.join(names)}")
    print(f"\n{len(held)} of {len(all_requirements())} reached; the others:")
    for reason, tck_ids in NOT_REACHED.items():
        print(f"\n{reason}:", *tck_ids, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
