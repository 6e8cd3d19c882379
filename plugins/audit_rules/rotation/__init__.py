"""Rules of the family rotation."""
