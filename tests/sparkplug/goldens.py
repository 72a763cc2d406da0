"""Whole messages with everything in them, for tests that cut, flip and fuzz."""

from __future__ import annotations

import zlib

import msgspec

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import T0_MS, batch_of, metric
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import METRIC_TYPES, SCALARS, DataType
from uns.sparkplug.metrics import (
    BD_SEQ,
    REBIRTH,
    DataSetValue,
    MetaData,
    MetricValue,
    Property,
    TemplateParameter,
    TemplateValue,
)

_INNER = TemplateValue(template_ref="Motor", metrics=(metric("rpm", DataType.INT32, -5),))

SAMPLES: dict[DataType, MetricValue] = {
    DataType.INT8: -8,
    DataType.INT16: -16,
    DataType.INT32: -32,
    DataType.INT64: -64,
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: float("inf"),
    DataType.BOOLEAN: False,
    DataType.STRING: "héllo",
    DataType.DATETIME: T0_MS,
    DataType.TEXT: "",
    DataType.UUID: "11ad7b32-1d32-4c4a-b0c9-fa049208939a",
    DataType.DATASET: DataSetValue(("n", "s"), (DataType.INT8, DataType.STRING), ((-1, "x"), (0, ""))),
    DataType.BYTES: b"\x00\xff",
    DataType.FILE: b"abc",
    DataType.TEMPLATE: TemplateValue(
        template_ref="Pump",
        version="1",
        metrics=(metric("motor", DataType.TEMPLATE, _INNER), metric("flow", DataType.DOUBLE, 2.5)),
        parameters=(TemplateParameter("poles", DataType.INT8, -2), TemplateParameter("maker", DataType.STRING, "Ox")),
    ),
    DataType.INT8_ARRAY: (-23, 123),
    DataType.INT16_ARRAY: (-30000, 30000),
    DataType.INT32_ARRAY: (-1, 315338746),
    DataType.INT64_ARRAY: (-4270929666821191986,),
    DataType.UINT8_ARRAY: (23, 250),
    DataType.UINT16_ARRAY: (30, 52360),
    DataType.UINT32_ARRAY: (52, 3293969225),
    DataType.UINT64_ARRAY: (52, 16444743074749521625),
    DataType.FLOAT_ARRAY: (1.5, -0.5),
    DataType.DOUBLE_ARRAY: (12.354213,),
    DataType.BOOLEAN_ARRAY: (False, False, True, True, False, True, False, False, True, True),
    DataType.STRING_ARRAY: ("ABC", "hello", ""),
    DataType.DATETIME_ARRAY: (1256102875335,),
}
assert SAMPLES.keys() == METRIC_TYPES

PROPERTIES = (
    Property("Quality", DataType.INT32, 0),
    Property("set", DataType.PROPERTY_SET, (Property("low", DataType.INT8, -1),)),
    Property("list", DataType.PROPERTY_SET_LIST, ((Property("null", DataType.STRING, None),), ())),
)
METADATA = MetaData(is_multi_part=True, content_type="text/plain", size=3, seq=0, file_name="f", md5="0")
METRICS = [
    metric(
        f"m/{datatype.label}",
        datatype,
        value,
        alias=number,
        timestamp_ms=T0_MS,
        properties=PROPERTIES if number % 5 == 0 else (),
        metadata=METADATA if datatype is DataType.FILE else None,
        is_historical=number == 3,
        is_transient=number == 4,
    )
    for number, (datatype, value) in enumerate(SAMPLES.items())
]
DEFINITION = metric("Motor", DataType.TEMPLATE, TemplateValue(metrics=_INNER.metrics, version="1"), timestamp_ms=T0_MS)
CONTROL = [
    metric(BD_SEQ, DataType.INT64, 7, timestamp_ms=T0_MS),
    metric(REBIRTH, DataType.BOOLEAN, False, timestamp_ms=T0_MS),
]
TABLE = AliasTable(METRICS)
BIRTH = codec.encode_birth([*CONTROL, DEFINITION, *METRICS], timestamp_ms=T0_MS, seq=0)
DATA = codec.encode_data(
    batch_of(
        TABLE.by_name.values(),
        SAMPLES.values(),
        properties={0: (Property("ordinal", DataType.UINT32, 1),), 5: PROPERTIES},
        metadata={16: METADATA},
        is_historical=True,
    ),
    timestamp_ms=T0_MS,
    seq=3,
)
NULLS = codec.encode_data(
    batch_of(TABLE.by_name.values(), [None] * len(SAMPLES)),
    timestamp_ms=T0_MS,
    seq=4,
)
DEATH = codec.encode_death(3)
EMPTY = codec.encode_empty(T0_MS, 3)
COMMAND = codec.encode_command([metric(REBIRTH, DataType.BOOLEAN, True), *METRICS], timestamp_ms=T0_MS)
COMPRESSED = Payload(timestamp=T0_MS, seq=0, uuid="SPBV1.0_COMPRESSED", body=zlib.compress(BIRTH)).SerializeToString()

# What most DATA is: alias, timestamp and scalar alone. Some of it is history.
_SCALARS = [one for one in METRICS if one.datatype in SCALARS and one.datatype is not DataType.BYTES]
PLAIN_TABLE = AliasTable([msgspec.structs.replace(one, alias=(one.alias or 0) * 256 + 263) for one in _SCALARS])
PLAIN = codec.encode_data(
    batch_of(PLAIN_TABLE.by_name.values(), [one.value for one in _SCALARS], is_historical=True),
    timestamp_ms=T0_MS,
    seq=5,
)

MESSAGES = {
    "plain": PLAIN,
    "birth": BIRTH,
    "data": DATA,
    "nulls": NULLS,
    "death": DEATH,
    "empty": EMPTY,
    "command": COMMAND,
}
