"""What a leg did is verified, recorded and told; what it trained is then proven, or its data stays."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.audit_dir import pinned_names
from audit.backend.training import BadData, LegData, LegFailed, LegRequest, LegResult, Note
from audit.errors import ConfigError
from audit.facts.run import Run
from audit.findings import Finding, Severity
from audit.judging.decision import Limits
from audit.judging.verification import verify_run
from audit.ledger.batch_events import BatchEvent, Dissolved, Failed, Finished, LegBegun, Rejected, Stopped
from audit.ledger.events import Accepted
from audit.ledger.store import Ledger
from audit.manager import load
from audit.options import Options
from audit.report import Report
from audit.testing.runs import make_run
from audit.training.batch_log import BatchLog
from audit.training.conclusion import Conclusion
from audit.training.config import Data
from audit.training.data_files import DataFiles, digest_of
from audit.training.drafting import Work
from audit.training.events import BatchFailed, BatchFinished, Event, TrainingStopped
from audit.training.filing import Filing
from audit.training.mixing import Source
from audit.training.run_state import RunState, TrainRefused, Verified
from tests.audit.training.places import names, put

ROWS = '{"input_ids": [1, 1]}\n{"input_ids": [2, 2]}\n'
LOSSES = ((290, 2.0), (300, 1.0))


class Judged(RunState):
    """Answers what the test says that a verification finds; ``asked`` are the steps that were verified."""

    def __init__(self, run: str, log: BatchLog, judged: tuple[Run, Report]) -> None:
        super().__init__(run, Options(settle_seconds=0), Limits(), load(), log, lambda event: None)
        self._judged = judged
        self.problem: str | None = None
        self.against: tuple[Finding, ...] = ()
        self.accepted: tuple[Finding, ...] = ()
        self.asked: list[tuple[int, int]] = []

    def verify(self, step: int, begun: int, known: Any) -> Verified:
        self.asked.append((step, begun))
        return Verified(*self._judged, step, self.problem, self.against, self.accepted)


class Place:
    """A run of checkpoints up to step 300, of which the leg from 200 on is to be concluded."""

    def __init__(self, data: Data, run: str, judged: tuple[Run, Report]) -> None:
        self.data, self.run, self.log = data, run, BatchLog(run)
        self.told: list[Event] = []
        self.state = Judged(run, self.log, judged)
        self.filing = Filing(data, DataFiles(data), self.log, self.told.append)
        self.base = SimpleNamespace(unread=False, identity=lambda: {"model": "digest"})
        self.file = put(data, "a.jsonl", ROWS)

    def conclusion(self, *accept: str) -> Conclusion:
        base: Any = self.base
        return Conclusion(self.state, self.log, self.filing, base, self.told.append, accept, "known")

    def work(self, last: int | None = 300, first: int = 0, sources: tuple[Source, ...] = (), **more: Any) -> Work:
        """The leg from step 200 on; ``first`` examples of the batch were trained before."""
        held = self.filing.held_files.hold(self.file, digest_of(self.file))
        assert held is not None
        data = LegData(held.path, first=first)
        request = LegRequest(self.run, f"{self.run}/checkpoint-200", 200, last, data)
        digest = digest_of(self.file)
        made = Work(request, digest, self.file, held, 200 - first, 400, 4, 1, sources=sources, read=sources)
        return made._replace(content=digest, **more)

    def rows(self) -> list[BatchEvent]:
        return self.log.events()

    def pinned(self) -> list[str]:
        return sorted(pinned_names(self.run))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Report]:
    return verify_run(make_run(tmp_path_factory.mktemp("judged") / "run"), Options(settle_seconds=0))


@pytest.fixture
def place(data: Data, tmp_path: Path, judged: tuple[Run, Report]) -> Place:
    return Place(data, make_run(tmp_path / "run", steps=(100, 300)), judged)


def result(last: int = 300, signal: int | None = None, losses: Any = LOSSES) -> LegResult:
    return LegResult(200, last, losses, signal)


def finding(rule: str = "loss/jump", **changes: Any) -> Finding:
    return Finding(rule, Severity.ERROR, None, None, "It jumps", None, None, "Look.", False)._replace(**changes)


# -- It came to its end -----------------------------------------------------------------------------------------------


def test_a_leg_that_came_to_its_end_and_is_proven_is_recorded_pinned_and_told(place: Place) -> None:
    conclusion = place.conclusion()

    assert conclusion.conclude(place.work(), result()) is None

    (row,) = place.rows()
    assert isinstance(row, Finished)
    assert (row.batch, row.file, row.first_step, row.last_step) == (digest_of(place.file), "a.jsonl", 200, 300)
    assert (row.examples, row.checkpoint, row.base) == (400, "checkpoint-300", None)
    assert [step for step, _ in row.losses] == [*range(210, 301, 10)]  # those of the checkpoint
    assert place.pinned() == ["checkpoint-300"]
    assert conclusion.trained == 1
    (told,) = place.told
    assert isinstance(told, BatchFinished)
    assert told[:4] == ("a.jsonl", 200, 300, 400)
    assert (told.first_loss, told.last_loss) == (row.losses[0][1], row.losses[-1][1])
    assert (told.checkpoint, told.verdict, told.best) == ("checkpoint-300", "sound", None)
    assert place.state.asked == [(300, 200)]


def test_what_was_found_at_each_step_is_handed_out_once(place: Place) -> None:
    conclusion = place.conclusion()
    conclusion.conclude(place.work(), result())

    assert [item.step for item in conclusion.judged()] == [300]
    assert conclusion.judged() == []


def test_a_base_that_was_not_known_before_is_recorded_now(place: Place) -> None:
    place.base.unread = True
    place.conclusion().conclude(place.work(), result())

    (row,) = place.rows()
    assert isinstance(row, Finished)
    assert row.base == {"model": "digest"}


def test_stopped_in_its_last_step_a_leg_came_to_its_end_all_the_same(place: Place) -> None:
    assert place.conclusion().conclude(place.work(), result(signal=15)) == 15

    assert [type(row) for row in place.rows()] == [Finished]


def test_a_checkpoint_that_cannot_be_pinned_is_told_and_proven_all_the_same(place: Place) -> None:
    Path(place.run, ".audit").mkdir(exist_ok=True)
    Path(place.run, ".audit", "pinned").write_text("in the way")
    conclusion = place.conclusion()
    conclusion.conclude(place.work(), result())

    assert conclusion.trained == 1
    assert isinstance(place.told[0], Note)
    assert place.told[0].text.startswith("not pinned: ")


# -- It was stopped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [400, None])
def test_a_leg_that_a_signal_ended_is_recorded_and_its_checkpoint_pinned(last: int | None, place: Place) -> None:
    assert place.conclusion().conclude(place.work(last), result(signal=15)) == 15

    assert place.rows() == [Stopped(digest_of(place.file), "a.jsonl", 300, 15, LOSSES)]
    assert place.told == [TrainingStopped(300, 15, True, None)]
    assert place.pinned() == ["checkpoint-300"]
    assert names(place.data.inbox)[-1] == "a.jsonl"


def test_stopped_at_a_checkpoint_that_is_not_proven_nothing_is_pinned_and_the_reason_is_told(place: Place) -> None:
    place.state.problem = "it is broken"

    assert place.conclusion().conclude(place.work(400), result(signal=2)) == 2

    assert place.told == [TrainingStopped(300, 2, False, "it is broken")]
    assert place.pinned() == []


def test_stopped_before_its_first_step_a_leg_did_not_fail(place: Place) -> None:
    assert place.conclusion().conclude(place.work(400), result(200, 15, ())) == 15


def test_of_many_losses_two_hundred_are_kept_with_the_first_and_the_last_and_none_that_is_no_number(
    place: Place,
) -> None:
    losses = tuple((step, math.nan if step == 7 else 1.0 / step) for step in range(1, 1001))
    place.conclusion().conclude(place.work(4000), result(signal=15, losses=losses))

    (row,) = place.rows()
    assert isinstance(row, Stopped)
    assert [step for step, _ in row.losses] == [*range(1, 1000, 5), 1000]
    place.conclusion().conclude(place.work(4000), result(signal=15, losses=losses[:10]))
    assert [step for step, _ in place.rows()[1].losses] == [1, 2, 3, 4, 5, 6, 8, 9, 10]  # type: ignore[union-attr]


# -- It failed --------------------------------------------------------------------------------------------------------


def refused(place: Place, outcome: Any, last: int = 400, first: int = 0) -> str:
    """What is said of a leg that failed."""
    with pytest.raises(TrainRefused) as caught:
        place.conclusion().conclude(place.work(last, first), outcome)
    return str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "step", "kind", "reason"),
    [
        (result(200), 200, "no-progress", "no step was trained: the run is still at step 200"),
        (result(300), 300, "short", "training ended at step 300, before step 400"),
        (LegFailed("boom", "out-of-memory", 250), 250, "out-of-memory", "boom"),
        (LegFailed("boom"), 200, "error", "boom"),
        (LegFailed("boom", "error", 0), 0, "error", "boom"),
        (BadData("elsewhere", 3, "is no text"), 200, "error", "row 3: is no text"),
        (BadData("elsewhere", None, "is no text"), 200, "error", "is no text"),
    ],
)
def test_a_leg_that_failed_is_recorded_and_told_with_its_step_and_reason(
    outcome: Any, step: int, kind: str, reason: str, place: Place
) -> None:
    assert refused(place, outcome) == f"a.jsonl: failed at step {step}: {reason}"

    assert place.rows() == [Failed(digest_of(place.file), "a.jsonl", step, kind, reason)]
    assert place.told == [BatchFailed("a.jsonl", step, kind, reason)]
    assert os.path.exists(place.file.path)


def test_the_path_that_is_said_is_the_one_that_the_user_knows(place: Place) -> None:
    held = place.work().held.path

    assert refused(place, LegFailed(f"{held} is bad")).endswith(f": {place.file.path} is bad")


def test_an_incomplete_checkpoint_stays_where_the_failure_could_be_recorded(place: Place) -> None:
    place.log.record(LegBegun("cd", "b.jsonl", 9, 300, 400, 0, 4, 2, 1, None, 0, None, None, 1, None))
    os.mkdir(f"{place.run}/checkpoint-350")
    refused(place, LegFailed("boom"))

    assert os.path.isdir(f"{place.run}/checkpoint-350")
    assert [type(row) for row in place.rows()] == [LegBegun, Failed]


def test_it_is_said_how_often_a_leg_failed_at_a_step(place: Place) -> None:
    said = [refused(place, LegFailed("boom", "error", 250)) for _ in range(3)]

    assert "it failed at this step before" not in said[0]
    assert "it failed at this step before (the second time)" in said[1]
    assert "it failed at this step before (3 times now)" in said[2]
    assert "it failed" not in refused(place, LegFailed("boom", "error", 251))


def test_a_fault_of_the_configuration_stays_one(place: Place) -> None:
    with pytest.raises(ConfigError, match="no such column"):
        place.conclusion().conclude(place.work(), ConfigError("no such column"))
    assert [type(row) for row in place.rows()] == [Failed]


def test_what_cannot_be_recorded_is_said_and_nothing_else_happens(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = place.work()
    monkeypatch.setattr("audit.ledger.store.LONGEST", 10)
    with pytest.raises(
        TrainRefused, match=r"a\.jsonl: what was trained cannot be recorded: .* is too long; nothing is lo"
    ):
        place.conclusion().conclude(work, result())
    assert "; not recorded: " in refused(place, LegFailed("boom"))


# -- Its file ---------------------------------------------------------------------------------------------------------


def test_a_file_with_a_row_that_cannot_be_trained_is_set_aside_and_the_others_go_on(place: Place) -> None:
    work = place.work()

    assert place.conclusion().conclude(work, BadData(work.held.path, 2, "is no text")) is None

    (row,) = place.rows()
    assert isinstance(row, Rejected)
    assert (row.batch, row.reason) == (work.batch, "row 2: is no text")
    assert names(place.data.inbox) == []


def test_of_a_batch_that_was_begun_before_no_file_is_set_aside(place: Place) -> None:
    held = place.work().held.path

    assert refused(place, BadData(held, 2, "is no text"), first=100).endswith("row 2: is no text")
    assert os.path.exists(place.file.path)


@pytest.mark.parametrize("outcome", [result(), result(signal=15), LegFailed("boom")])
def test_of_a_file_that_was_written_to_while_it_was_trained_the_steps_are_discarded(outcome: Any, place: Place) -> None:
    work = place.work()
    Path(place.file.path).write_text(f"{ROWS}{ROWS}")

    assert place.conclusion().conclude(work, outcome) == getattr(outcome, "stopped_by", None)

    (row,) = place.rows()
    assert isinstance(row, Failed)
    assert (row.step, row.kind) == (200, "changed")
    assert [type(event) for event in place.told] == [BatchFailed]
    assert sorted(os.listdir(place.run)) == [".audit", "checkpoint-100"]


@pytest.mark.parametrize("how", ["touched", "gone"])
def test_a_file_that_was_touched_or_removed_meanwhile_is_proven_as_any_other(how: str, place: Place) -> None:
    work = place.work()
    if how == "touched":
        os.utime(work.held.path, (1e9, 1e9))
    else:
        os.unlink(work.held.path)

    place.conclusion().conclude(work, result())

    assert [type(row) for row in place.rows()] == [Finished]


# -- One of several files ---------------------------------------------------------------------------------------------


@pytest.fixture
def several(place: Place) -> Callable[..., Work]:
    """``several()``: the leg of two files of two rows each; with ``replayed`` only these rows of the second one."""

    def made(replayed: tuple[int, ...] | None = None, **more: Any) -> Work:
        files = [put(place.data, f"{name}.jsonl", ROWS.replace("1", str(ord(name)))) for name in "bc"]
        sources = [Source(file, digest_of(file), None, 2) for file in files]
        sources[1] = sources[1]._replace(rows=replayed)
        held = place.filing.held_files
        read = [source._replace(file=held.hold(source.file, source.digest) or source.file) for source in sources]
        return place.work(sources=tuple(sources), **more)._replace(read=tuple(read))

    return made


def test_of_several_files_the_one_with_the_bad_row_is_set_aside(place: Place, several: Callable[..., Work]) -> None:
    work = several()

    assert place.conclusion().conclude(work, BadData(work.held.path, 4, "is no text")) is None

    (row,) = place.rows()  # the batch was not begun, so nothing of it is dissolved
    assert isinstance(row, Rejected)
    assert (row.file, row.reason, row.batch) == ("c.jsonl", "row 2: is no text", work.sources[1].digest)
    assert not os.path.exists(work.sources[1].file.path)
    assert names(place.data.rejected) == ["c.jsonl"]


def test_a_batch_of_several_files_that_was_begun_is_dissolved(place: Place, several: Callable[..., Work]) -> None:
    work = several()
    place.log.record(LegBegun(work.batch, "b and 1 more", 9, 200, 300, 0, 4, 2, 1, None, 0, None, None, 1, None))

    place.conclusion().conclude(work, BadData(work.held.path, 1, "is no text"))

    rejected, dissolved = place.rows()[1:]
    assert isinstance(rejected, Rejected)
    assert rejected.file == "b.jsonl"
    assert dissolved == Dissolved(work.batch, "a.jsonl")


def test_one_file_with_replayed_rows_is_set_aside_as_one_file(place: Place, several: Callable[..., Work]) -> None:
    work = several(replayed=(1,))
    place.log.record(LegBegun(work.batch, "b.jsonl", 9, 200, 300, 0, 4, 2, 1, None, 0, None, None, 1, None))

    place.conclusion().conclude(work, BadData(work.held.path, 2, "is no text"))

    assert [type(row) for row in place.rows()[1:]] == [Rejected]


def test_a_replayed_row_that_cannot_be_trained_is_no_fault_of_the_new_file(
    place: Place, several: Callable[..., Work]
) -> None:
    work = several(replayed=(1,))
    with pytest.raises(TrainRefused, match=r"replays c\.jsonl: row 2: is no text"):
        place.conclusion().conclude(work, BadData(work.held.path, 3, "is no text"))
    assert names(place.data.rejected) == []


@pytest.mark.parametrize("row", [5, None])
def test_where_no_file_is_to_blame_none_is_set_aside(
    row: int | None, place: Place, several: Callable[..., Work]
) -> None:
    work = several()
    with pytest.raises(TrainRefused, match="is no text"):
        place.conclusion().conclude(work, BadData(work.held.path, row, "is no text"))
    assert names(place.data.rejected) == []


# -- Proven, or accepted ----------------------------------------------------------------------------------------------


def unproven(place: Place, *accept: str) -> str:
    with pytest.raises(TrainRefused) as caught:
        place.conclusion(*accept).conclude(place.work(), result())
    return str(caught.value)


def test_what_is_not_proven_is_recorded_told_and_can_be_accepted(place: Place) -> None:
    place.state.problem, place.state.against = "It jumps (loss/jump)", (finding(),)
    text = "a.jsonl: trained to step 300, but not proven: It jumps (loss/jump)"
    way = "; once you have judged it, accept it with --accept loss/jump --reason TEXT"

    assert unproven(place) == f"{text}{way}"
    assert unproven(place) == f"{text}; it failed here before{way}"
    assert place.rows()[0] == Failed(digest_of(place.file), "a.jsonl", 300, "not-proven", "It jumps (loss/jump)", 200)
    assert place.told[0] == BatchFailed("a.jsonl", 300, "not-proven", "It jumps (loss/jump)")
    assert place.pinned() == []


def test_what_blocks_a_resume_cannot_be_accepted(place: Place) -> None:
    place.state.problem, place.state.against = "It jumps", (finding(blocks_resume=True),)

    assert "--accept" not in unproven(place)
    unproven(place, "loss/jump")
    assert [row.event for row in place.log.rows() if isinstance(row.event, Accepted)] == []
    assert len(place.state.asked) == 2


def test_a_run_without_the_checkpoint_is_not_proven(place: Place) -> None:
    with pytest.raises(TrainRefused, match="there is no checkpoint of step 350"):
        place.conclusion().conclude(place.work(350), result(350))


def test_what_a_person_accepts_is_recorded_once_and_the_run_verified_again(place: Place) -> None:
    twice = finding(step=250)
    place.state.against = (twice, twice, finding(step=260, checkpoint="checkpoint-200"), finding("loss/vanished"))
    conclusion = place.conclusion("loss/jump", "weights/outlier")

    conclusion.conclude(place.work(), result())

    assert [row.event for row in place.log.rows() if isinstance(row.event, Accepted)] == [
        Accepted("loss/jump", "checkpoint-300", 250, "known"),
        Accepted("loss/jump", "checkpoint-200", 260, "known"),
    ]
    assert place.state.asked == [(300, 200)] * 2
    assert conclusion.trained == 1


def test_what_is_recorded_is_on_the_disk_before_the_next_file_moves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    durably: list[bool] = []
    append = Ledger.append

    def watched(self: Ledger, event: Any, durable: bool = False, time: str | None = None) -> None:
        durably.append(durable)
        append(self, event, durable, time)

    monkeypatch.setattr(Ledger, "append", watched)
    place.state.against = (finding(),)
    place.conclusion("loss/jump").conclude(place.work(), result())

    assert durably == [True, True]


def test_what_was_accepted_is_told_of_each_batch(place: Place) -> None:
    place.state.accepted = (finding(accepted="known"),)
    place.conclusion().conclude(place.work(), result())

    assert place.told[0] == Note("a.jsonl: accepted: It jumps (loss/jump): known")
