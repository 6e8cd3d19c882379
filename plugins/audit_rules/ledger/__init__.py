"""The ledger, which records what was seen before, is complete."""
