"""From decoded payloads and facts to contextualised records: identity, as-of join, ticks, restatements."""
