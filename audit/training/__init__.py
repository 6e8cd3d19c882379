"""``audit train``: batches through a backend, guarded before, proven after, every example trained once."""
