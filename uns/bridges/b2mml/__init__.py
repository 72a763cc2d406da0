"""B2MML: schedules in, performances out. Pure: bytes and records, no file, no clock."""
