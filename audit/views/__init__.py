"""Runs to look at: list, show, best, diff, export, report."""
