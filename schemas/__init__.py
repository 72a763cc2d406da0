"""Schemas of what goes over the wire: the Sparkplug B protobuf and our JSON."""
