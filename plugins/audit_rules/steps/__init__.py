"""Rules of the family steps."""
