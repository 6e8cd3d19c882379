"""How many examples hypothesis tries: as many as a test says every day, ten times as many in the campaign."""

import os

from hypothesis import settings

TIMES = 10 if os.environ.get("HYPOTHESIS_PROFILE") == "campaign" else 1


def examples(everyday: int) -> settings:
    """Decorate a test that needs more or fewer examples than the others: ``@examples(300)``."""
    return settings(max_examples=everyday * TIMES)
