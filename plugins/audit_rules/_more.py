"""What is too much for a message: of many things the first are named and the others counted."""

from collections.abc import Sized


def and_more(found: Sized, words: str, shown: int = 1) -> str:
    """Return the words with the number of those that are not shown in their place ``{}``; nothing if all are shown."""
    left = len(found) - shown
    return words.format(left) if left > 0 else ""
