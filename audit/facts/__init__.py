"""What is true of a run, computed from its files lazily and once."""
