"""The learning rate follows the schedule, at every step and across every resume."""
