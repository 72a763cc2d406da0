"""OPC UA: pure configuration and mapping, and the source that reads servers."""
