"""The audit log: who or what changed which fact, posting, command or configuration, as a chain of hashes.

``chain`` links entries, ``verification`` finds the first bad one, ``events`` says how things that happen are written
down, ``coalescing`` bounds what may come in floods. Where entries are kept is an adapter's business.
"""
