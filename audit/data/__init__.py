"""Data files, row by row."""
