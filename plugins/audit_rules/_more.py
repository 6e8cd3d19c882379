"""What is too much for a message: of many things the first are named and the others counted; a long text is cut."""

from collections.abc import Sized


def and_more(found: Sized, words: str, shown: int = 1) -> str:
    """Return the words with the number of those that are not shown in their place ``{}``; nothing if all are shown."""
    left = len(found) - shown
    return words.format(left) if left > 0 else ""


def cut(text: str, width: int = 40) -> str:
    """Return a text that is no longer than the width; dots stand for what is left out."""
    return text if len(text) <= width else f"{text[: width - 3]}..."
