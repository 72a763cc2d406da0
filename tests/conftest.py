"""Settings for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples every time: a run fails for what changed, not for its luck. UNS_HYPOTHESIS=explore looks further,
# and what it finds becomes an @example. Deadlines would measure the machine.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("UNS_HYPOTHESIS", "steady"))
