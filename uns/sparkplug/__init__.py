"""Sparkplug B 3.0 without I/O: topics, payload codec, edge node and host sessions. Time is an argument."""

from __future__ import annotations

from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    Action,
    Connect,
    Disconnect,
    EdgeEvent,
    HeldBirths,
    HostEvent,
    Message,
    NodeBirth,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import (
    BirthMetric,
    BirthPayload,
    DataBatch,
    DataPayload,
    DataSetValue,
    MetaData,
    MetricBinding,
    MetricValue,
    Property,
    TemplateParameter,
    TemplateValue,
)
from uns.sparkplug.state import HostState
from uns.sparkplug.topics import DeviceDescriptor, EdgeNodeDescriptor, MessageType, parse_topic
from uns.sparkplug.transitions import EdgeState, HostNodeState, HostSessionState

__all__ = [
    "Action",
    "AliasTable",
    "BirthMetric",
    "BirthPayload",
    "Connect",
    "DataBatch",
    "DataPayload",
    "DataSetValue",
    "DataType",
    "DeviceDescriptor",
    "Disconnect",
    "EdgeEvent",
    "EdgeNodeDescriptor",
    "EdgeNodeSession",
    "EdgeState",
    "HeldBirths",
    "HostEvent",
    "HostNodeState",
    "HostSession",
    "HostSessionState",
    "HostState",
    "Message",
    "MessageType",
    "MetaData",
    "MetricBinding",
    "MetricValue",
    "NodeBirth",
    "Property",
    "Publish",
    "Subscribe",
    "TemplateParameter",
    "TemplateValue",
    "Value",
    "parse_topic",
]
