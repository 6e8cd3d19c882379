"""The optimizer state is that of this step and of this model; not reset, not NaN."""
