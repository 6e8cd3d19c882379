"""What a run remembers of itself: the ledger's file, its rows, and what they say."""
