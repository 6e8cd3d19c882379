"""The adapter's files match each other, and the adapter is the one that was trained before."""
