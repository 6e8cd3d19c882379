"""The adapter's files fit together, and are the adapter that was trained before."""
