"""Sparkplug B 3.0 without I/O: topics, payload codec, edge node and host sessions. Time is an argument."""
