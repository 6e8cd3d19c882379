"""Rules of the family ledger."""
