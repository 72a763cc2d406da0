"""The process of one bridge: reads the record log by cursor, keeps an outbox, delivers each item once."""
