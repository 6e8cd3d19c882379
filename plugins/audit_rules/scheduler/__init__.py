"""The schedule is at the step of the trainer, and its horizon does not move."""
