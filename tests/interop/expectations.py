"""What each peer was measured to do, as it is. A fix of theirs shows as a test that fails here.

``docs/reference/interoperation.md`` tells the same to people; a test holds the two together.
"""

from __future__ import annotations

import msgspec

from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.metrics import MetricValue

__all__ = ["EXPECTED", "Expected", "Wire"]

Wire = tuple[str, object]  # the field of the value, and what stands in it


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. Sets of tck-ids hold what it breaks."""

    peer: str

    # as edge node before our host
    edge_breaks: frozenset[str]
    edge_may_break: frozenset[str] = frozenset()  # by the moment at which its connections get through
    edge_does_not: frozenset[str] = frozenset()  # steps of the scene that do not come about
    records: bool = True  # whether its values are found in records.db
    edge_leniencies: frozenset[str] = frozenset()  # what our codec forgives
    edge_warnings: frozenset[str] = frozenset()  # what our host forgives, by tck-id

    # as host before our edge node
    host_breaks: frozenset[str]
    host_does_not: frozenset[str] = frozenset()
    primary_host: bool = False  # whether our edge nodes can wait for it, and leave with it
    names_data: bool  # whether it resolves the aliases and types of our DATA by the birth

    # bytes
    writes: dict[DataType, Wire] = {}  # where its bytes of the extreme values are not ours
    reads: dict[DataType, Value] = {}  # what it makes of ours where that is another value
    refuses: dict[DataType, str] = {}  # what it raises over ours
    has_arrays: bool = True
    array_writes: dict[DataType, bytes] = {}  # where its bytes of an array are not ours
    array_reads: dict[DataType, MetricValue] = {}  # what it makes of ours where that is another value


REBIRTH_METRIC = frozenset(
    {
        "tck-id-operational-behavior-data-commands-rebirth-name",
        "tck-id-payloads-nbirth-rebirth-req",
        "tck-id-topics-nbirth-rebirth-metric",
    }
)
# Nothing of the kind is in it: the application has to.
REBIRTH_ANSWER = frozenset({"tck-id-operational-behavior-data-commands-rebirth-action-1"})
BD_SEQ_OF_DEATH = frozenset(
    {
        "tck-id-payloads-nbirth-bdseq-repeat",
        "tck-id-payloads-ndeath-bdseq",
        "tck-id-topics-nbirth-bdseq-matching",
    }
)
DATA_BEYOND_BIRTHS = frozenset(
    {
        "tck-id-operational-behavior-data-publish-dbirth",
        "tck-id-operational-behavior-data-publish-nbirth",
        "tck-id-topics-dbirth-metric-reqs",
        "tck-id-topics-nbirth-metric-reqs",
    }
)
SEQ_OF_DATA = frozenset(
    {
        "tck-id-payloads-ddata-seq-inc",
        "tck-id-payloads-ndata-seq-inc",
        "tck-id-payloads-sequence-num-incrementing",
        "tck-id-topics-ddata-seq-num",
        "tck-id-topics-ndata-seq-num",
    }
)
DATATYPE_IN_DATA = frozenset({"tck-id-payloads-metric-datatype-not-req"})
NAME_BESIDE_ALIAS = frozenset({"tck-id-payloads-alias-data-cmd-requirement"})
NO_STATE = frozenset({"tck-id-payloads-state-birth", "tck-id-payloads-state-will-message"})

EXPECTED: dict[str, Expected] = {
    "pysparkplug": Expected(
        peer="pysparkplug",
        edge_breaks=REBIRTH_METRIC
        | REBIRTH_ANSWER
        | BD_SEQ_OF_DEATH
        | DATATYPE_IN_DATA
        | NAME_BESIDE_ALIAS
        | {"tck-id-payloads-ndeath-will-message-qos"},
        edge_does_not=frozenset(
            {"rebirth_answered", "untyped_rebirth_answered", "offline_after_stop", "lives_after_request"}
        ),
        edge_leniencies=frozenset({"name_beside_alias", "datatype_in_data", "other_complement"}),
        host_breaks=NO_STATE | {"tck-id-payloads-state-subscribe"},
        host_does_not=frozenset({"extremes_seen", "death_seen"}),
        names_data=True,
        writes={DataType.INT8: ("int_value", 0x80), DataType.INT16: ("int_value", 0x8000)},
        refuses={
            DataType.INT8: "OverflowError: Int8 overflow with value 4294967168",
            DataType.INT16: "OverflowError: Int16 overflow with value 4294934528",
        },
    ),
    "mqtt_spb_wrapper": Expected(
        peer="mqtt_spb_wrapper",
        edge_breaks=REBIRTH_METRIC
        | REBIRTH_ANSWER
        | BD_SEQ_OF_DEATH
        | DATATYPE_IN_DATA
        | NAME_BESIDE_ALIAS
        | DATA_BEYOND_BIRTHS
        | {
            "tck-id-message-flow-edge-node-ncmd-subscribe",
            "tck-id-payloads-ddeath-seq",
            "tck-id-payloads-ddeath-seq-number",
            "tck-id-payloads-ddeath-timestamp",
            "tck-id-payloads-sequence-num-always-included",
            "tck-id-topics-ddeath-mqtt",
        },
        edge_may_break=SEQ_OF_DATA,  # node and device have a connection each, and one count
        edge_does_not=frozenset(
            {
                "rebirth_answered",
                "node_data",
                "untyped_rebirth_answered",
                "offline_after_stop",
                "lives_after_request",
                "offline_after_crash",
            }
        ),
        records=False,
        edge_leniencies=frozenset({"name_beside_alias", "data_with_unknown_metric", "datatype_in_data"}),
        edge_warnings=frozenset({"tck-id-payloads-ndata-seq"}),
        host_breaks=NO_STATE | DATATYPE_IN_DATA | {"tck-id-payloads-ncmd-seq", "tck-id-payloads-state-subscribe"},
        has_arrays=False,
        names_data=False,
        writes={DataType.INT8: ("int_value", 0x80), DataType.INT16: ("int_value", 0x8000)},
    ),
    "npm": Expected(
        peer="npm",
        edge_breaks=REBIRTH_METRIC
        | REBIRTH_ANSWER
        | DATATYPE_IN_DATA
        | {
            "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
            "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
            "tck-id-message-flow-edge-node-ncmd-subscribe",
            "tck-id-payloads-name-birth-data-requirement",
            "tck-id-payloads-ndeath-will-message-qos",
            "tck-id-topics-nbirth-bdseq-increment",
        },
        edge_does_not=frozenset({"rebirth_answered", "untyped_rebirth_answered"}),
        edge_leniencies=frozenset({"datatype_in_data", "uint32_in_long"}),
        edge_warnings=frozenset(
            {
                "tck-id-payloads-metric-timestamp-in-UTC",
                "tck-id-payloads-nbirth-bdseq",
                "tck-id-topics-nbirth-bdseq-increment",
            }
        ),
        host_breaks=NO_STATE | {"tck-id-payloads-state-subscribe"},
        host_does_not=frozenset({"rebirth"}),
        has_arrays=False,
        names_data=False,
        writes={DataType.UINT32: ("long_value", 2**32 - 1)},
        reads={DataType.UINT32: None},
    ),
    "tahu": Expected(
        peer="tahu",
        edge_breaks=REBIRTH_ANSWER | {"tck-id-operational-behavior-data-commands-rebirth-name-aliases"},
        edge_does_not=frozenset({"untyped_rebirth_answered"}),
        edge_leniencies=frozenset({"alias_on_bd_seq", "alias_zero", "uint32_in_long"}),
        edge_warnings=frozenset({"tck-id-operational-behavior-data-commands-rebirth-name-aliases"}),
        host_breaks=frozenset(),
        primary_host=True,
        names_data=True,
        array_reads={DataType.UINT8_ARRAY: (23, -6)},  # of (23, 250): bytes taken as signed
        writes={DataType.UINT32: ("long_value", 2**32 - 1)},
    ),
}
