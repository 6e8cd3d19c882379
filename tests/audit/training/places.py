"""An inbox with files in it."""

import os
from pathlib import Path
from typing import Any

from audit.training.config import Data
from audit.training.data_files import DataFile, seen


def places(home: Path, **more: Any) -> Data:
    inbox, done, rejected = (str(home / name) for name in ("inbox", "done", "rejected"))
    made = Data(inbox, done, rejected, "keep", 1, True, ("*.jsonl", "*.parquet"), {})
    return made._replace(**more)


def put(data: Data, name: str, text: str = "text") -> DataFile:
    path = Path(data.inbox, name)
    path.write_text(text)
    file = seen(str(path), name)
    assert file is not None
    return file


def names(place: str) -> list[str]:
    return sorted(os.listdir(place)) if os.path.isdir(place) else []
