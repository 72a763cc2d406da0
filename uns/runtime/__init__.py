"""Processes: the host (`host/`), the demo (`demo/`), and what running a plant as processes takes."""
