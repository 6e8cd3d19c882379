"""Rules of the family weights."""
