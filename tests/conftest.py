"""Laws hold at any speed: a busy machine is no reason for a property test to fail."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
