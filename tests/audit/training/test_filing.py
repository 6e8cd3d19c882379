"""Where data files go, what the ledger says of it, and that the last copy of one is never deleted."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.backend.training import BadData, Note
from audit.ledger.back_events import Dropped
from audit.ledger.batch_events import BatchEvent, Dissolved, Duplicate, Finished, LegBegun, Lost, Rejected, Retired
from audit.ledger.batch_parts import Part
from audit.ledger.batches import Batch
from audit.ledger.timeline import Timeline
from audit.training.batch_log import BatchLog
from audit.training.config import Data
from audit.training.data_files import DataFile, DataFiles, digest_of, seen
from audit.training.events import Event, FileDropped, FileDuplicate, FileRejected, FileRetired
from audit.training.filing import Filing
from audit.training.held_file import PREFIX
from tests.audit.training.places import names, put


class Desk(NamedTuple):
    """A run with a ledger, an inbox, and what files it; ``told`` are the events."""

    data: Data
    log: BatchLog
    told: list[Event]

    def filing(self) -> Filing:
        """As the next call has it."""
        return Filing(self.data, DataFiles(self.data), self.log, self.told.append)

    def begin(self, *files: DataFile, name: str | None = None, first: int = 0) -> Batch:
        """Record that a leg of a batch of these files begins."""
        parts = [Part(digest_of(file), file.name, file.size, 2, None) for file in files]
        batch = parts[0].batch if len(parts) == 1 else "ab" * 32
        several = parts if len(parts) > 1 else None
        text = name or "+".join(file.name for file in files)
        self.log.record(
            LegBegun(
                batch, text, 9, first, first + 4, 0, 8, 2, 1, None, 0, None, None, 1, None, parts=several
            )
        )  # fmt: skip
        return self.batch(batch)

    def finish(self, batch: Batch) -> None:
        self.log.record(Finished(batch.digest, batch.file, batch.first_step, 4, 8, "checkpoint-4", (), 1.0))

    def batch(self, digest: str) -> Batch:
        found = self.log.timeline().batch(digest)
        assert found is not None
        return found

    def timeline(self) -> Timeline:
        return self.log.timeline()

    def rows(self) -> list[BatchEvent]:
        """What was recorded after the training."""
        return [event for event in self.log.events() if not isinstance(event, LegBegun | Finished)]

    def hidden(self) -> list[str]:
        return [name for name in names(self.data.inbox) if name.startswith(PREFIX)]


@pytest.fixture
def desk(data: Data, tmp_path: Path) -> Desk:
    (tmp_path / "run").mkdir()
    return Desk(data, BatchLog(str(tmp_path / "run")), [])


def held(filing: Filing, file: DataFile) -> DataFile:
    found = filing.held_files.hold(file, digest_of(file))
    assert found is not None
    return found


# -- Trained to the end -----------------------------------------------------------------------------------------------


def test_the_file_of_a_finished_batch_comes_to_done_and_the_ledger_says_where(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    batch = desk.begin(file)
    desk.finish(batch)
    to = os.path.join(desk.data.done, "a.jsonl")

    assert desk.filing().retire(desk.timeline()) is True

    assert (names(desk.data.inbox), names(desk.data.done)) == ([], ["a.jsonl"])
    assert desk.rows() == [Retired(batch.digest, "a.jsonl", to)]
    assert desk.told == [FileRetired("a.jsonl", to)]
    assert desk.filing().retire(desk.timeline()) is False  # once is enough
    assert len(desk.rows()) == 1


def test_the_file_of_a_batch_that_is_not_finished_stays(desk: Desk) -> None:
    desk.begin(put(desk.data, "a.jsonl"))

    assert desk.filing().retire(desk.timeline()) is False
    assert (names(desk.data.inbox), desk.rows(), desk.told) == (["a.jsonl"], [], [])


def test_what_was_trained_comes_to_done_and_what_was_put_in_its_place_stays(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl", "trained")
    filing = desk.filing()
    held(filing, file)
    desk.finish(desk.begin(file))
    os.unlink(file.path)
    put(desk.data, "a.jsonl", "another")

    assert filing.retire(desk.timeline())

    assert Path(desk.data.done, "a.jsonl").read_text() == "trained"
    assert names(desk.data.inbox) == ["a.jsonl"]
    assert Path(desk.data.inbox, "a.jsonl").read_text() == "another"


def test_a_finished_batch_whose_file_is_gone_is_over_all_the_same(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    batch = desk.begin(file)
    desk.finish(batch)
    os.unlink(file.path)

    assert desk.filing().retire(desk.timeline())
    assert (desk.rows(), desk.told) == ([Retired(batch.digest, "a.jsonl", None)], [])


def test_a_copy_that_is_in_done_already_is_not_taken_for_the_file_that_is_gone(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    batch = desk.begin(file)
    desk.finish(batch)
    os.mkdir(desk.data.done)
    os.rename(file.path, os.path.join(desk.data.done, "copy.jsonl"))

    assert desk.filing().retire(desk.timeline())
    assert (desk.rows(), desk.told) == ([Retired(batch.digest, "a.jsonl", None)], [])
    assert names(desk.data.done) == ["copy.jsonl"]


def test_killed_between_two_files_of_a_batch_the_next_call_moves_the_other_alone(desk: Desk) -> None:
    one, two = put(desk.data, "a.jsonl", "1"), put(desk.data, "b.jsonl", "2")
    desk.finish(desk.begin(one, two))
    desk.log.record(Retired(digest_of(one), one.name, "elsewhere"))

    assert desk.filing().retire(desk.timeline())

    assert desk.rows()[1:] == [
        Retired(desk.timeline().batches[0].parts[1].batch, "b.jsonl", f"{desk.data.done}/b.jsonl")
    ]
    assert names(desk.data.inbox) == ["a.jsonl"]


# -- Found again ------------------------------------------------------------------------------------------------------


def test_a_batch_is_found_in_the_inbox_or_under_the_second_name_of_its_file(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    filing, batch = desk.filing(), desk.begin(file)
    second = held(filing, file)

    assert filing.find(batch) == (file,)
    os.unlink(file.path)
    assert [found.path for found in filing.find(batch) if found] == [second.path]
    assert filing.find(batch, held=False) == (None,)
    os.unlink(second.path)
    assert filing.find(batch) == (None,)


@pytest.mark.parametrize("how", ["replaced", "written to", "written to and renamed"])
def test_a_file_that_is_no_longer_what_it_was_when_its_batch_began_is_named(how: str, desk: Desk) -> None:
    file, other = put(desk.data, "a.jsonl", "one"), put(desk.data, "b.jsonl", "other")
    filing, batch = desk.filing(), desk.begin(file)
    held(filing, file)
    assert filing.changed_since(batch) is None

    if how == "replaced":
        os.replace(other.path, file.path)
    else:
        Path(file.path).write_text("another")
    if how == "written to and renamed":
        os.rename(file.path, os.path.join(desk.data.inbox, "c.jsonl"))

    name = "c.jsonl" if how == "written to and renamed" else "a.jsonl"
    assert desk.filing().changed_since(batch) == os.path.join(desk.data.inbox, name)


def test_a_file_that_was_renamed_or_removed_is_not_another_one(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    put(desk.data, "b.jsonl", "other")
    filing, batch = desk.filing(), desk.begin(file)
    held(filing, file)

    os.rename(file.path, os.path.join(desk.data.inbox, "c.jsonl"))
    assert filing.changed_since(batch) is None
    os.unlink(os.path.join(desk.data.inbox, "c.jsonl"))
    assert filing.changed_since(batch) is None


# -- Some of a batch is gone ------------------------------------------------------------------------------------------


def test_of_a_batch_that_was_begun_the_files_that_are_left_are_set_aside_with_the_reason(desk: Desk) -> None:
    one, two = put(desk.data, "a.jsonl", "1"), put(desk.data, "b.jsonl", "2")
    batch = desk.begin(one, two)
    os.unlink(one.path)
    filing = desk.filing()

    filing.give_up(batch, 1, filing.find(batch))

    lost, rejected, whole = desk.rows()
    assert lost == Lost(batch.parts[0].batch, "a.jsonl", 1)
    assert whole == Lost(batch.digest, batch.file, 1)
    assert isinstance(rejected, Rejected)
    assert (rejected.file, rejected.to) == ("b.jsonl", os.path.join(desk.data.rejected, "b.jsonl"))
    assert "was trained together with a.jsonl, which is gone" in (rejected.reason or "")
    assert (names(desk.data.inbox), names(desk.data.rejected)) == ([], ["b.jsonl"])
    assert desk.told[-1] == Note("a.jsonl: skipped from step 1 on")


def test_of_a_batch_without_a_trained_step_the_files_that_are_left_are_trained_anew(desk: Desk) -> None:
    one, two, three = (put(desk.data, f"{name}.jsonl", name) for name in "abc")
    batch = desk.begin(one, two, three)
    os.unlink(one.path)
    os.mkdir(desk.data.done)
    os.rename(two.path, os.path.join(desk.data.done, "b.jsonl"))
    filing = desk.filing()

    filing.give_up(batch, 0, filing.find(batch))

    assert desk.rows() == [Lost(batch.parts[0].batch, "a.jsonl", 0), Dissolved(batch.digest, batch.file)]
    assert (names(desk.data.inbox), names(desk.data.done)) == (["b.jsonl", "c.jsonl"], [])
    assert names(desk.data.rejected) == []
    assert desk.told == [
        Note("b.jsonl: put back into the inbox as b.jsonl, to be trained again"),
        Note("a.jsonl: skipped from step 0 on"),
    ]


# -- Second names that are left ---------------------------------------------------------------------------------------


def test_the_second_names_of_what_is_in_done_go(desk: Desk) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        file = put(desk.data, name, name)
        batch = desk.begin(file)
        desk.log.record(Retired(batch.digest, name, f"done/{name}"))
        held(desk.filing(), file)
        os.unlink(file.path)

    desk.filing().release(desk.timeline())

    assert (desk.hidden(), names(desk.data.rejected), desk.told) == ([], [], [])


@pytest.mark.parametrize(("begun", "name"), [(True, "a.jsonl"), (False, r"\w+.jsonl")])
def test_the_last_copy_of_what_was_never_trained_to_its_end_is_kept(begun: bool, name: str, desk: Desk) -> None:
    file = put(desk.data, "a.jsonl", "the last copy")
    if begun:
        desk.begin(file)
    held(desk.filing(), file)
    os.unlink(file.path)

    desk.filing().release(desk.timeline())

    (kept,) = names(desk.data.rejected)
    (note,) = desk.told
    assert Path(desk.data.rejected, kept).read_text() == "the last copy"
    assert desk.hidden() == []
    assert isinstance(note, Note)
    assert note.text.startswith(os.path.join(desk.data.rejected, kept))
    assert re.search(f"the last copy of {name}, which was removed from the inbox", note.text)


# -- Not trained ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "reason"), [(3, "row 3: is no text"), (None, "is no text")])
def test_a_file_that_is_refused_goes_to_rejected_with_the_reason(row: int | None, reason: str, desk: Desk) -> None:
    file, filing = put(desk.data, "a.jsonl"), desk.filing()
    digest, to = digest_of(file), os.path.join(desk.data.rejected, "a.jsonl")
    held(filing, file)

    filing.reject(file, digest, BadData(file.path, row, "is no text"))

    assert desk.rows() == [Rejected(digest, "a.jsonl", reason, to)]
    assert desk.told == [FileRejected("a.jsonl", reason, to)]
    assert isinstance(desk.told[0], FileRejected)  # tuples of two kinds may be equal
    assert filing.set_aside == 1
    assert (names(desk.data.inbox), names(desk.data.rejected)) == ([], ["a.jsonl"])


def test_a_duplicate_goes_to_rejected_as_one(desk: Desk) -> None:
    file, filing = put(desk.data, "a.jsonl"), desk.filing()
    to = os.path.join(desk.data.rejected, "a.jsonl")

    filing.aside(file, Duplicate("cd", "a.jsonl", "trained before"))

    assert desk.rows() == [Duplicate("cd", "a.jsonl", "trained before", to)]
    assert desk.told == [FileDuplicate("a.jsonl", "trained before", to)]
    assert isinstance(desk.told[0], FileDuplicate)


# -- Dropped by a person ----------------------------------------------------------------------------------------------


def test_every_copy_of_a_dropped_file_is_set_aside_the_one_of_its_name_first(desk: Desk) -> None:
    file = put(desk.data, "b.jsonl")
    put(desk.data, "a.jsonl")
    os.mkdir(desk.data.done)
    Path(desk.data.done, "c.jsonl").write_text("text")
    put(desk.data, "d.jsonl", "other")
    filing = desk.filing()
    held(filing, file)
    to = os.path.join(desk.data.rejected, "b.jsonl")

    filing.drop(digest_of(file), "b.jsonl")

    assert desk.rows() == [Dropped(digest_of(DataFile(to, "b.jsonl", (0, 0, 0))), "b.jsonl", to)]
    assert desk.told == [FileDropped("b.jsonl", to)]
    assert (names(desk.data.inbox), names(desk.data.done)) == (["d.jsonl"], [])  # and no second name
    assert names(desk.data.rejected) == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_of_a_dropped_file_that_was_removed_the_second_name_is_set_aside(desk: Desk) -> None:
    file, filing = put(desk.data, "a.jsonl"), desk.filing()
    digest = digest_of(file)
    held(filing, file)
    os.unlink(file.path)

    filing.drop(digest, "a.jsonl")

    (kept,) = names(desk.data.rejected)
    assert (desk.hidden(), desk.told) == ([], [FileDropped("a.jsonl", os.path.join(desk.data.rejected, kept))])


def test_a_file_that_was_set_aside_by_a_call_that_was_killed_is_where_it_was_put(desk: Desk) -> None:
    file = put(desk.data, "a.jsonl")
    digest, to = digest_of(file), os.path.join(desk.data.rejected, "a.jsonl")
    os.mkdir(desk.data.rejected)
    os.rename(file.path, to)

    desk.filing().drop(digest, "a.jsonl")

    assert desk.rows() == [Dropped(digest, "a.jsonl", to)]
    assert seen(to, "a.jsonl") is not None


def test_a_dropped_file_of_which_nothing_is_left_is_dropped_all_the_same(desk: Desk) -> None:
    desk.filing().drop("cd" * 32, "a.jsonl")

    assert desk.rows() == [Dropped("cd" * 32, "a.jsonl", None)]
    assert desk.told == [FileDropped("a.jsonl", None)]
