"""Read the compact protocol of Thrift, in which Parquet writes its footer and the headers of its pages.

As strict as it can be: what another reader might take differently (a number that is too long for its type, a field
that is there twice) is refused.
"""

from collections.abc import Iterator

I32, I64, STRING, LIST, STRUCT = 5, 6, 8, 9, 12
_TRUE, _FALSE, _BYTE, _I16, _DOUBLE, _SET = 1, 2, 3, 4, 7, 10
_BITS = {_I16: 16, I32: 32, I64: 64}
_LONGEST_LIST = 1_000_000
"""As in pyarrow (``thrift_container_size_limit``)."""
_DEPTH = 16


class InvalidThrift(Exception):
    """The bytes are not what Thrift writes."""


class Thrift:
    """A place in bytes that Thrift wrote. Every method raises IndexError where they end, and InvalidThrift."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.at = at
        self._data = data

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a structure; whoever asks for the next has read or skipped this."""
        seen: set[int] = set()
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._number(16)
            if number in seen or number > 0x7FFF:
                raise InvalidThrift
            seen.add(number)
            yield number, head & 15

    def struct(self, kind: int) -> Iterator[tuple[int, int]]:
        """As ``fields``, of a field that has this type."""
        if kind != STRUCT:
            raise InvalidThrift
        return self.fields()

    def integer(self, kind: int, of: int) -> int:
        """Read an integer that has this type, which must be ``of``."""
        if kind != of:
            raise InvalidThrift
        return self._number(_BITS[of])

    def items(self, kind: int, of: int) -> Iterator[int]:
        """Yield the number of each item of a list of items of the type ``of``; each is read before the next."""
        count, found = self._list(kind)
        if count and found != of:
            raise InvalidThrift
        yield from range(count)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value of this type."""
        if kind in _BITS:
            self._number(_BITS[kind])
        elif kind == STRING:
            self._move(self._varint(32))
        elif kind == STRUCT:
            if depth > _DEPTH:
                raise InvalidThrift
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (LIST, _SET):
            if depth > _DEPTH:
                raise InvalidThrift
            count, inner = self._list(kind)
            if inner in (_TRUE, _FALSE, _BYTE):
                self._move(count)
            else:
                for _ in range(count):
                    self.skip(inner, depth + 1)
        elif kind == _DOUBLE:
            self._move(8)
        elif kind == _BYTE:
            self._move(1)
        elif kind not in (_TRUE, _FALSE):  # a truth value is in its type; Parquet has no maps
            raise InvalidThrift

    def _list(self, kind: int) -> tuple[int, int]:
        """How many items there are, and their type: never more than the bytes that are left can hold."""
        if kind not in (LIST, _SET):
            raise InvalidThrift
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint(32)
        if count > _LONGEST_LIST:
            raise InvalidThrift
        if count > len(self._data) - self.at:
            raise IndexError
        return count, head & 15

    def _move(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        found = self._data[self.at]
        self.at += 1
        return found

    def _number(self, bits: int) -> int:
        number = self._varint(bits)
        return number >> 1 ^ -(number & 1)

    def _varint(self, bits: int) -> int:
        number = 0
        for shift in range(0, bits + 6, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                if number >> bits:
                    raise InvalidThrift
                return number
        raise InvalidThrift
