"""The elements of a JSON list as a stream: the text of each, one at a time, whatever the size of the list.

Only where an element begins and ends is found here; the element itself is parsed by the caller, as a line is.
"""

import re
from collections.abc import Iterator
from typing import IO

_CHUNK = 1 << 20
_BLANK = re.compile(rb"[ \t\r\n]*+")
_SCALAR_END = re.compile(rb"[,\]\s]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)
"""A whole string, or what opens or closes a value; a quote alone opens a string that goes on beyond the text."""
_OPENING = b"[{"


class ListFault(Exception):
    """What is wrong with the list itself: ``element`` counts from 1."""

    def __init__(self, element: int | None, reason: str) -> None:
        self.element, self.reason = element, reason
        super().__init__(reason)


def elements(file: IO[bytes], start: bytes, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number, from 1, and the text of each element of a list.

    ``start`` is what was read of the file so far, from the opening bracket on. An element has at most ``limit`` bytes.
    Raises ListFault.
    """
    text = _Text(file, start[1:], limit)
    number, following = 0, text.following(1)
    while following != b"]" or number:
        number += 1
        if following == b"":
            raise ListFault(number, "is truncated: the list has no end")
        if following in (b",", b"]"):
            raise ListFault(number, "is missing: the list has a comma without an element")
        yield number, text.value(number, following)
        separator = text.following(number)
        if separator == b"]":
            break
        if separator != b",":
            what = (
                "is truncated: the list ends after it"
                if not separator
                else "is not followed by a comma or the end of the list"
            )
            raise ListFault(number, what)
        text.place += 1
        following = text.following(number)
    text.place += 1
    if text.following(number):
        raise ListFault(
            None, "has text after the end of its list; a file is one JSON list, or one JSON object per line"
        )


class _Text:
    """The part of the file that is in memory; what is before ``place`` is done with."""

    def __init__(self, file: IO[bytes], text: bytes, limit: int) -> None:
        self._file, self._text, self._limit = file, text, limit
        self.place = 0

    def following(self, number: int) -> bytes:
        """Go to the next byte that is not blank and return it, nothing at the end."""
        blank = 0
        while True:
            begin = self.place
            found = _BLANK.match(self._text, begin)
            assert found is not None
            self.place = found.end()
            blank += self.place - begin
            if blank > self._limit:
                raise ListFault(number, f"is beside more than {self._limit >> 20} MiB of blanks")
            if self.place < len(self._text):
                return self._text[self.place : self.place + 1]
            if not self._more():
                return b""

    def value(self, number: int, first: bytes) -> bytes:
        """Return the text of the value that begins here, and go to its end."""
        end = self._end(number) if first in (b'"', b"{", b"[") else self._scalar_end(number)
        value = self._text[self.place : end]
        self._check(number, len(value))
        self.place = end
        return value

    def _end(self, number: int) -> int:
        depth, done = 0, 0  # `done` is relative to the place
        while True:
            for token in _TOKEN.finditer(self._text, self.place + done):
                begin, end = token.span()
                if self._text[begin] == 0x22:  # a quote
                    if end - begin == 1:
                        done = begin - self.place
                        break
                elif self._text[begin] in _OPENING:
                    depth += 1
                else:
                    depth -= 1
                if depth == 0:
                    return end
            else:
                done = len(self._text) - self.place
            self._check(number, len(self._text) - self.place)
            if not self._more():
                raise ListFault(number, "is truncated: the list ends within it")

    def _scalar_end(self, number: int) -> int:
        while True:
            found = _SCALAR_END.search(self._text, self.place)
            if found is not None:
                return found.start()
            self._check(number, len(self._text) - self.place)
            if not self._more():
                return len(self._text)

    def _check(self, number: int, size: int) -> None:
        if size > self._limit:
            raise ListFault(number, f"the element is longer than {self._limit >> 20} MiB; split the example")

    def _more(self) -> bool:
        piece = self._file.read(_CHUNK)
        self._text = self._text[self.place :] + piece
        self.place = 0
        return bool(piece)
