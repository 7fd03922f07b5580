"""Laws hold at any speed: a busy machine is no reason for a property test to fail."""

import os

from hypothesis import settings

settings.register_profile("no deadline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("no deadline")
