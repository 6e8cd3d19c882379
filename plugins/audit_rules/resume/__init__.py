"""A resume from a checkpoint that is whole continues what was interrupted, bit for bit."""
