"""No pickle has code, no path leads out of the checkpoint, no file exhausts memory, and no file has a token."""
