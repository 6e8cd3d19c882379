"""Many runs at once: found by one listing, audited by several processes, kept as two Parquet tables."""
