"""How nothing is lost at QoS 0: marks with counts from the edge, confirmations by the host."""
