"""The log only goes forward, and the directory holds one run."""
