"""files/unreadable: what the operating system refuses is not missing."""

from pathlib import Path

import pytest

from audit.storage import ContextReader, LocalStorage
from audit.testing.judging import check
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import ADAPTER, Locked, judged, names

RULE = "files/unreadable"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("depth", ["quick", "full"])
@pytest.mark.parametrize("name", [ADAPTER, "optimizer.pt", "trainer_state.json", "training_args.bin", "README.md"])
def test_a_file_that_may_not_be_opened_is_one_finding(run: str, name: str, depth: str) -> None:
    found = judged(run, Locked(run, f"checkpoint-200/{name}"), depth=depth)
    assert names(found) == [(RULE, "checkpoint-200", name)]
    assert found[0].message == f"{name} cannot be read: Permission denied"
    assert found[0].blocks_resume


def test_a_checkpoint_that_may_not_be_listed_is_one_finding(run: str) -> None:
    found = judged(run, Locked(run, "checkpoint-200"))
    assert names(found) == [(RULE, "checkpoint-200", None)]
    assert found[0].message == "the directory of the checkpoint cannot be listed, so its contents are unknown"


def test_a_sub_directory_that_may_not_be_listed_is_found(run: str) -> None:
    Path(run, "checkpoint-200", "second").mkdir()
    found = judged(run, Locked(run, "checkpoint-200/second"))
    assert names(found) == [(RULE, "checkpoint-200", "second")]
    assert "second/ cannot be listed" in found[0].message


def test_a_neighbour_whose_name_begins_alike_is_not_blamed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (20, 200))
    assert names(judged(run, Locked(run, "checkpoint-200"))) == [(RULE, "checkpoint-200", None)]


def test_a_disk_that_fails_in_the_middle_of_a_file_is_found_by_the_scan(run: str) -> None:
    class Failing(LocalStorage):
        """The header can be read, the values cannot."""

        def open(self, path: str) -> ContextReader:
            reader = super().open(path)
            if path.endswith(f"checkpoint-200/{ADAPTER}"):
                reader.read_into = self._fail  # type: ignore[method-assign]
            return reader

        def _fail(self, offset: int, buffer: memoryview) -> int:
            raise OSError(5, "Input/output error")

    assert not judged(run, Failing(run), depth="quick")
    (finding,) = judged(run, Failing(run))
    assert (finding.rule, finding.file) == (RULE, ADAPTER)
    assert "Input/output error" in finding.message


def test_a_run_that_can_be_read_passes(run: str) -> None:
    assert not check(run, RULE)
