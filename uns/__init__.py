"""The Unified Namespace for manufacturing on MQTT Sparkplug B: values with their context, nothing lost on the way."""

__version__ = "0.1.0"
