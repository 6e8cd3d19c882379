"""Rules of the family scheduler."""
