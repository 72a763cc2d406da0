"""The record log in PostgreSQL: the same tables and views as in SQLite, kept by a bridge."""
