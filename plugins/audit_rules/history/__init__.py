"""The log goes forward, and the directory holds one run."""
