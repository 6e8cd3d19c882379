"""The record of what was seen before is whole."""
