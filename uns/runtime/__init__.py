"""One TaskGroup per process: the host."""
