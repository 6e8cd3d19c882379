"""Settings that hold for every test. Builders of checkpoints live in audit.testing."""

import os

from hypothesis import HealthCheck, settings

# No deadline: the machine may be busy with something else. The same examples every time, so that a change is to blame
# for what fails; the campaign looks for new ones.
settings.register_profile(
    "everyday", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.register_profile("campaign", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))
