"""The host's two logs in SQLite: what was received (raw log) and what it meant (record log)."""
