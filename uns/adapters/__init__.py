"""Where the core meets the world: MQTT, SQLite, brokers, HTTP, logs. One library behind one module."""
