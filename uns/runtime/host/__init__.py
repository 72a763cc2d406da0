"""The host process: receive, log, confirm, join, record, publish. Begin with `process.py`."""
