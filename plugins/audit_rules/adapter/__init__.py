"""Rules of the family adapter."""
