"""Attempts to break the sessions of edge node and host, by hand and without a network."""
