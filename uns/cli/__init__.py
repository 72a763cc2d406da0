"""The `uns` command; the only place of this package that prints."""
