"""Rules of the family integrity."""
