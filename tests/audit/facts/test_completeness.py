"""Whether a checkpoint was written to its end follows from names and times."""

from collections.abc import Sequence

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.listing import Listing
from audit.facts.run import Run
from audit.manager import load
from audit.storage import Entry, LocalStorage

SENTINEL = "checkpoint-is-incomplete.txt"
SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
STATE = "trainer_state.json"


def made(*files: tuple[str, float], settle: float = 60, unlistable: Sequence[str] = ()) -> Checkpoint:
    """A checkpoint of these files, each with its age in seconds; the directory itself is a second old."""
    entries = {name: Entry(f"checkpoint-5/{name}", "file", 1, int(NOW - age * SECOND), 0, 1) for name, age in files}
    home = {"checkpoint-5": Entry("checkpoint-5", "directory", 0, NOW - SECOND, 0, 1)}
    listing = Listing(home, {"checkpoint-5": 5}, {"checkpoint-5": entries}, frozenset(unlistable))
    storage, backend = LocalStorage("/nonexistent"), load().backend("hf-trainer")
    return Run("run", storage, backend, settle_seconds=settle, now_ns=NOW, listing=listing).checkpoints[0]


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ([(STATE, 0)], "complete"),
        ([(STATE, 9999)], "complete"),
        ([(f"{STATE}.REMOVED.git-id", 0)], "complete"),
        ([("optimizer.pt", 61)], "incomplete"),
        ([("optimizer.pt", 59)], "in progress"),
        ([("optimizer.pt", 9999), ("scheduler.pt", 1)], "in progress"),
        ([("optimizer.pt", -100)], "in progress"),  # a clock that runs ahead
        ([], "in progress"),  # the directory's own time
        ([(STATE, 10), (SENTINEL, 20)], "in progress"),
        ([(STATE, 100), (SENTINEL, 200)], "incomplete"),
        ([(STATE, 20), (SENTINEL, 10)], "incomplete"),  # put there after the save: nobody will remove it
    ],
)
def test_completeness_follows_from_names_and_times(files: list[tuple[str, float]], state: str) -> None:
    checkpoint = made(*files)
    assert checkpoint.completeness.state == state
    assert bool(checkpoint.completeness.reason) is (state != "complete")
    assert checkpoint.complete is (state == "complete")


def test_with_no_settle_time_nothing_is_in_progress() -> None:
    assert made(("optimizer.pt", 0), settle=0).completeness.state == "incomplete"


def test_an_incomplete_checkpoint_has_no_files_to_judge() -> None:
    checkpoint = made(("optimizer.pt", 100))
    for name in ("files", "layout", "state", "history", "optimizer", "weights", "damages", "scan"):
        with pytest.raises(NotApplicable):
            getattr(checkpoint, name)


def test_a_checkpoint_that_cannot_be_listed_is_neither_complete_nor_incomplete() -> None:
    checkpoint = made(unlistable=["checkpoint-5"])
    assert (checkpoint.optional("completeness"), checkpoint.complete) == (None, False)
