"""Real Trainer configurations by name: each trains a healthy run into a directory, in about a second.

No rule may find an error or a warning in any of them, but for TRUE_ALARMS. ``sample`` marks the few that run in every
test session.
"""

from tests.backends.hf_trainer import (
    adapter_runs,
    argument_runs,
    distributed_runs,
    eventful_runs,
    resumed_runs,
    unusual_runs,
)
from tests.backends.hf_trainer.table import CONFIGURATIONS, TRUE_ALARMS, Configuration

__all__ = [
    "CONFIGURATIONS",
    "TRUE_ALARMS",
    "Configuration",
    "adapter_runs",
    "argument_runs",
    "distributed_runs",
    "eventful_runs",
    "resumed_runs",
    "unusual_runs",
]
