"""Bridges to the systems above: one folder a target, its mapping pure, its client thin."""
