"""Modbus: pure configuration and register planning, and the source that reads units."""
