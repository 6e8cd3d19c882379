"""Files that are read here and there: few are open at a time, and none in the end."""

from pathlib import Path

import pytest

from audit.facts import open_files
from audit.facts.open_files import OpenFiles
from audit.facts.run import open_run
from audit.manager import load
from audit.testing.runs import make_run


def test_a_file_that_was_closed_for_another_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MOST_OPEN", 1)
    checkpoint = open_run(make_run(tmp_path / "run", (100,)), load().backends).checkpoints[0]
    names = ("scheduler.pt", "optimizer.pt")
    with OpenFiles() as files:
        readers = [files.reader(checkpoint.files[name]) for name in names]
        for _ in range(2):
            for name, reader in zip(names, readers, strict=True):
                data = (tmp_path / "run" / "checkpoint-100" / name).read_bytes()
                buffer = bytearray(4)
                assert reader.size == len(data)
                assert reader.read(2, 5) == data[2:7]
                assert reader.read_into(1, memoryview(buffer)) == 4
                assert bytes(buffer) == data[1:5]
        assert len(files._open) == 1
    assert not files._open
