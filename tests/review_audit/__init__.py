"""The audit log, gaps, SQL views and the access list, attacked."""
