"""Builders of checkpoints and runs, for tests of rules and plugins. Nothing here needs torch."""
