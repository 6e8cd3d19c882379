"""What is done to checkpoints: pinned, quarantined, copied, pruned."""
