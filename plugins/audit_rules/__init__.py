"""The built-in rules: one file per rule, its path is its id."""
