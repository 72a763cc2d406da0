"""Faults with real processes: killed, stopped, cut off, denied, fed rubbish; per-tag counters are the oracle.

A package of harness modules (``process``, ``counter_plc``, ``plant``, ``oracle``, ``campaign``) and of tests.
``python -m tests.reliability`` runs the same campaigns at full length and writes docs/reliability.md.
"""
