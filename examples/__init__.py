"""Programs that use the framework as a reader would; each runs in a test."""
