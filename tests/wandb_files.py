"""What the file of an offline run of wandb holds; ``python -m tests.wandb_files PATH`` prints it, a row a line."""

import json
import sys
from pathlib import Path

BLOCK, HEAD = 32768, 7


def rows_in(path: Path) -> list[dict[str, str]]:
    """What was logged, each value as JSON, in order: LevelDB's log, each record with a sum, a length and a kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), HEAD, b""
    found = []
    while place + HEAD <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record, parts = Record.FromString(parts), b""
            items = record.history.item
            found.append({item.key or "/".join(item.nested_key): item.value_json for item in items})
    return [row for row in found if row]


if __name__ == "__main__":
    for row in rows_in(Path(sys.argv[1])):
        sys.stdout.write(json.dumps(row) + "\n")
