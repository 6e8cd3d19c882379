"""A rehearsal: what is restored and trained again, compared with what the files, the log and the ledger say."""
