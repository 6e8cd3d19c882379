"""Everything that a resume needs is there and complete: weights, optimizer, scheduler, random states, adapters."""
