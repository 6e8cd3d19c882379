"""What TensorBoard's files hold, read without TensorBoard."""

import struct
from pathlib import Path
from typing import Any


def events_in(home: Path) -> dict[str, list[tuple[int, Any]]]:
    """The scalars and texts of TensorBoard's files by tag: records of a length, its sum, the event, its sum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, Any]]] = {}
    for path in sorted(home.rglob("events.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                said = value.tensor.string_val
                found.setdefault(value.tag, []).append((event.step, said[0].decode() if said else value.simple_value))
    return found
