"""Grade live Sparkplug traffic from outside, against the requirement ids of the standard.

    receive(topic, payload, …) → reading (as it is on the wire) → rules (a table) → tallies and findings → report()

Pure: no broker, no clock. Every vendor's node is treated alike, ours too.
"""
