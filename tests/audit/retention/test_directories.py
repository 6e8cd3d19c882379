"""What moves, copies or removes checkpoints refuses a trainer whose checkpoints are files."""

from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.facts.run import open_run
from audit.manager import load
from audit.retention.directories import refuse_files
from audit.testing.runs import make_run
from tests.lightning import make_lightning


def test_files_are_refused_and_directories_are_not(tmp_path: Path) -> None:
    backends = load().backends
    refuse_files(open_run(make_run(tmp_path / "directories", (100,)), backends), "prune")
    with pytest.raises(AuditError, match="checkpoints of lightning are files, and audit prune takes only directories"):
        refuse_files(open_run(str(make_lightning(tmp_path / "files")), backends), "prune")
