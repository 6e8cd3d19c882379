"""Everything that a resume needs is there: weights, optimizer, scheduler, random states, shards, adapters; nothing half-written."""
