"""The weights are there, finite and trained, of this step and this model, and not the slice of one rank."""
