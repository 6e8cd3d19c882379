"""What the guard hands out, and when it refuses."""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.api import verify
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.judging.decision import Decision, Limits, ResumeRefused, rollback
from audit.judging.guard import Guarded, consult
from audit.manager import load
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.runs import edit_state, make_run
from tests.audit.seals import execute

SETTLED = Options(settle_seconds=0)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def breaks(run: str, *steps: int) -> None:
    for step in steps:
        Path(run, f"checkpoint-{step}", "optimizer.pt").unlink()


def removed(run: str, *steps: int) -> None:
    for step in steps:
        shutil.rmtree(f"{run}/checkpoint-{step}")


def decided(run: str, options: Options = SETTLED, **limits: Any) -> Decision:
    return consult(run, Limits(**limits), options).decision


def names(decision: Decision) -> Sequence[str]:
    return [item.checkpoint for item in decision.skipped]


def test_the_newest_sound_checkpoint_is_handed_out(run: str) -> None:
    assert decided(run) == Decision("checkpoint-300", 300, False, None, ())
    assert decided(run, strict=True, max_rollback=0).checkpoint == "checkpoint-300"


def test_where_the_newest_is_broken_an_older_one_is_handed_out_with_the_reason(run: str) -> None:
    breaks(run, 300)

    decision = decided(run)

    assert (decision.checkpoint, decision.step, decision.behind, decision.refusal) == ("checkpoint-200", 200, 100, None)
    assert names(decision) == ["checkpoint-300"]
    assert rollback(decision) == "rolls back 100 steps, 300 -> 200"
    assert "optimizer.pt" in decision.skipped[0].reason
    assert "(files/missing-optimizer)" in decision.skipped[0].reason


def test_where_all_are_broken_it_refuses_and_names_each(run: str) -> None:
    breaks(run, 100, 200, 300)

    decision = decided(run)

    assert (decision.checkpoint, decision.fresh) == (None, False)
    assert decision.refusal == "no checkpoint can be resumed from"
    assert names(decision) == ["checkpoint-300", "checkpoint-200", "checkpoint-100"]


def test_strict_takes_the_newest_or_none(run: str) -> None:
    breaks(run, 300)

    decision = decided(run, strict=True)

    assert decision.checkpoint is None
    assert "missing-optimizer" in (decision.refusal or "")


def test_a_refusal_is_a_dead_end_only_where_nothing_can_be_resumed_from(run: str) -> None:
    breaks(run, 300)
    for refused in (decided(run, strict=True), decided(run, max_rollback=9)):
        assert refused.refusal is not None
        assert not refused.dead_end
        assert not refused.misnamed

    breaks(run, 100, 200)
    assert decided(run).dead_end
    assert not decided(run).misnamed


def test_strict_gives_the_reason_of_the_newest(run: str) -> None:
    breaks(run, 300)
    Path(run, "checkpoint-200", "scheduler.pt").unlink()

    assert "missing-optimizer" in (decided(run, strict=True).refusal or "")


def test_strict_also_means_newest_of_what_the_ledger_saw(run: str) -> None:
    verify(run, SETTLED)
    removed(run, 300)

    assert "step 300 was reached before" in (decided(run, strict=True).refusal or "")
    assert decided(run).behind == 100


def test_a_rollback_is_limited_by_what_is_there_and_by_what_the_ledger_saw(run: str) -> None:
    breaks(run, 300)

    assert decided(run, max_rollback=100).checkpoint == "checkpoint-200"
    assert "100 steps behind step 300, more than --max-rollback 99" in (decided(run, max_rollback=99).refusal or "")
    removed(run, 200, 300)
    assert "200 steps behind step 300" in (decided(run, max_rollback=100).refusal or "")
    # What the guard hands out is the measure of the next call.
    assert decided(run).checkpoint == "checkpoint-100"
    assert decided(run, max_rollback=0).checkpoint == "checkpoint-100"


def test_starting_over_is_allowed_only_where_nothing_is_resumable(run: str) -> None:
    breaks(run, 300)

    assert decided(run, allow_fresh=True).checkpoint == "checkpoint-200"
    assert decided(run, allow_fresh=True, strict=True).refusal
    assert decided(run, allow_fresh=True, max_rollback=10).refusal
    breaks(run, 100, 200)
    assert decided(run, allow_fresh=True)[:4] == (None, None, True, None)


@pytest.mark.parametrize("make", [lambda path: None, os.mkdir])
def test_where_nothing_was_ever_trained_it_says_so_and_makes_nothing(tmp_path: Path, make: Any) -> None:
    path = str(tmp_path / "new")
    make(path)
    before = sorted(tmp_path.rglob("*"))

    decision, report = consult(path, Limits(allow_missing=True), SETTLED)

    assert decision == Decision(None, None, True, None, ())
    assert 0 <= report.seconds < 60
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("left", ["tmp-checkpoint-100", "checkpoint-100.tmp", "checkpoint-99999999999999999999"])
def test_what_a_cut_save_left_is_a_trace_of_a_training(tmp_path: Path, left: str) -> None:
    (tmp_path / left).mkdir()
    (tmp_path / left / "x").write_text("")

    decision = decided(str(tmp_path))

    assert (decision.checkpoint, decision.fresh) == (None, False)
    assert decided(str(tmp_path), allow_fresh=True).fresh


def test_an_empty_checkpoint_directory_is_no_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-100").mkdir()

    decision = decided(str(tmp_path))

    assert decision.refusal == "no checkpoint can be resumed from"
    assert "is incomplete" in decision.skipped[0].reason


def test_checkpoints_that_vanished_are_refused_by_the_ledger(run: str) -> None:
    verify(run, SETTLED)
    removed(run, 100, 200, 300)

    assert decided(run).refusal == "the ledger records step 300, but there is no checkpoint any more"
    assert decided(run, options=SETTLED._replace(ledger=False)).refusal
    assert decided(run, allow_fresh=True).fresh
    # Starting over was allowed: the way back is known from here on.
    assert decided(run).fresh
    assert verify(run, SETTLED._replace(select=("steps/reset",), allow_empty=True)).findings == ()


@pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\0garbage"])
def test_a_damaged_ledger_alone_is_no_fresh_start(run: str, content: bytes) -> None:
    verify(run, SETTLED)
    removed(run, 100, 200, 300)
    Path(run, ".audit", "ledger.db").write_bytes(content)

    assert "the ledger cannot say whether there was one" in (decided(run).refusal or "")


def test_a_damaged_ledger_beside_sound_checkpoints_keeps_nobody_waiting(run: str) -> None:
    verify(run, SETTLED)
    Path(run, ".audit", "ledger.db").write_bytes(b"garbage")

    assert decided(run).checkpoint == "checkpoint-300"


def test_a_directory_is_misnamed_only_if_it_holds_runs_and_nothing_was_asked_to_start_over(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one")
    (tmp_path / "other" / "model").mkdir(parents=True)
    Path(tmp_path, "other", "model", "model.safetensors").write_bytes(b"x")

    assert decided(str(tmp_path / "runs")).misnamed
    assert not decided(str(tmp_path / "runs"), allow_fresh=True).misnamed
    other = decided(str(tmp_path / "other"))
    assert other.refusal is not None
    assert not other.misnamed


def test_a_save_that_goes_on_is_passed_over_even_by_strict(run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()

    decision = decided(run, options=Options(settle_seconds=600), strict=True, max_rollback=0)

    assert (decision.checkpoint, decision.behind) == ("checkpoint-200", 0)
    assert "is being written right now" in decision.skipped[0].reason


def test_a_save_that_was_cut_off_is_not(run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()

    assert decided(run).behind == 100
    assert decided(run, strict=True).refusal


def test_strict_names_the_broken_one_before_which_a_save_goes_on(run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()
    breaks(run, 200)

    refusal = decided(run, options=Options(settle_seconds=600), strict=True).refusal

    assert "files/missing-optimizer" in (refusal or "")


def fork(run: str, times: dict[int, int]) -> None:
    """checkpoint-300 gets another history; trainer states get these times, in seconds."""

    def other(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "loss": 9.0} if "loss" in entry else entry for entry in history]

    edit_state(f"{run}/checkpoint-300", log_history=other, max_steps=5000)
    for step, seconds in times.items():
        os.utime(f"{run}/checkpoint-{step}/trainer_state.json", (seconds, seconds))


FORKED = SETTLED._replace(select=("history", "files"))


def test_of_two_histories_the_one_written_last_is_followed(run: str) -> None:
    fork(run, {100: 1000, 200: 2000, 300: 1500})

    decision = decided(run, FORKED)

    assert decision.checkpoint == "checkpoint-200"
    assert "another history" in decision.skipped[0].reason
    # What the other run reached is no way that this one has lost.
    assert decided(run, FORKED, max_rollback=0).checkpoint == "checkpoint-200"


def test_of_two_histories_of_one_time_none_is_guessed(run: str) -> None:
    fork(run, {100: 1000, 200: 1000, 300: 1000})

    assert "2 histories are mixed here" in (decided(run, FORKED).refusal or "")
    assert decided(run, FORKED, allow_fresh=True).refusal
    assert decided(run, FORKED, lineage="checkpoint-100").checkpoint == "checkpoint-200"
    assert decided(run, FORKED, lineage="checkpoint-300").checkpoint == "checkpoint-300"


def test_a_lineage_that_does_not_exist_is_a_mistake_of_the_caller(run: str) -> None:
    with pytest.raises(AuditError, match="--lineage checkpoint-7"):
        decided(run, lineage="checkpoint-7")


def test_a_lineage_is_looked_up_though_nothing_has_changed_since_the_last_call(run: str) -> None:
    assert decided(run).checkpoint == "checkpoint-300"
    with pytest.raises(AuditError, match="--lineage checkpoint-7"):
        decided(run, lineage="checkpoint-7")


def test_a_veto_hands_out_nothing_and_is_not_asked_of_a_refusal(run: str) -> None:
    asked: list[Decision] = []

    def veto(decision: Decision) -> str:
        asked.append(decision)
        return "trains something else"

    assert consult(run, None, SETTLED, veto=lambda _: None).decision.checkpoint == "checkpoint-300"
    assert consult(run, None, SETTLED, veto=veto).decision == Decision(None, None, False, "trains something else", ())
    breaks(run, 100, 200, 300)
    assert consult(run, None, SETTLED, veto=veto).decision.refusal == "no checkpoint can be resumed from"
    assert [decision.checkpoint for decision in asked] == ["checkpoint-300"]


def test_a_pinned_checkpoint_is_handed_out_where_it_is_further_on(run: str) -> None:
    pin(run, "checkpoint-200")
    assert decided(run).checkpoint == "checkpoint-300"
    removed(run, 200, 300)

    decision = decided(run)

    assert (decision.checkpoint, decision.step) == (".audit/pinned/checkpoint-200", 200)
    assert decided(run, max_rollback=0).checkpoint == ".audit/pinned/checkpoint-200"


def test_a_pinned_checkpoint_saves_a_run_of_which_nothing_else_is_sound(run: str) -> None:
    pin(run, "checkpoint-200")
    removed(run, 100, 200)
    breaks(run, 300)

    decision = decided(run)

    assert (decision.checkpoint, decision.behind) == (".audit/pinned/checkpoint-200", 100)
    assert names(decision) == ["checkpoint-300"]
    assert decided(run, max_rollback=10).refusal
    assert decided(run, strict=True).refusal


@pytest.mark.parametrize(("step", "handed_out"), [(1, ".audit/pinned/checkpoint-1"), (0, None)])
def test_where_nothing_is_resumable_any_pin_of_a_step_is_handed_out(
    tmp_path: Path, step: int, handed_out: str | None
) -> None:
    """At step 0 nothing was trained: starting there is starting over, which has to be allowed."""
    run = make_run(tmp_path / "run", (0, 1))
    removed(run, 1 - step)
    os.makedirs(f"{run}/.audit/pinned")
    shutil.copytree(f"{run}/checkpoint-{step}", f"{run}/.audit/pinned/checkpoint-{step}")
    breaks(run, step)

    assert decided(run).checkpoint == handed_out


def test_a_broken_pin_is_not_handed_out(run: str) -> None:
    pin(run, "checkpoint-300")
    removed(run, 300)
    Path(run, ".audit", "pinned", "checkpoint-300", "optimizer.pt").unlink()

    assert decided(run).checkpoint == "checkpoint-200"


def test_a_pin_whose_bytes_rotted_is_not_handed_out(run: str) -> None:
    verify(run, SETTLED)
    pin(run, "checkpoint-300")
    removed(run, 300)
    flip(Path(run, ".audit", "pinned", "checkpoint-300", "adapter_model.safetensors"))

    assert decided(run).checkpoint == "checkpoint-200"


def flip(path: Path) -> None:
    """Change the lowest bit of the last byte but two: still a sound number."""
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def test_of_a_pin_that_is_unchanged_nothing_is_read_again(run: str) -> None:
    verify(run, SETTLED)
    pin(run, "checkpoint-300")
    removed(run, 300)
    decided(run)

    from audit.ledger.records import read_records

    kept = {name for name, _ in read_records(run, write=False)[0].scans}
    assert kept - {""} == {"checkpoint-100", "checkpoint-200", "checkpoint-300"}


def test_one_checkpoint_instead_of_the_run_is_a_mistake_of_the_caller(run: str) -> None:
    with pytest.raises(AuditError, match="is one checkpoint; give the run that holds it"):
        decided(f"{run}/checkpoint-300")


def test_a_ledger_is_closed_though_the_veto_fails_and_its_exception_is_held(run: str) -> None:
    def veto(decision: Decision) -> str:
        raise KeyError(decision.checkpoint)

    with pytest.raises(KeyError) as held:
        consult(run, None, SETTLED, veto=veto)

    ledger = os.path.realpath(f"{run}/.audit/ledger.db")
    assert ledger not in {os.path.realpath(item) for item in Path("/proc/self/fd").glob("*")}, held


def test_nothing_is_handed_out_on_the_word_of_a_rule_that_crashed(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load()
    rule = next(rule for rule in registry.rules if rule.id == "files/missing-optimizer")

    def crash(*_: object) -> Any:
        raise KeyError("x")

    broken = registry.with_rules([rule._replace(function=crash)])
    with pytest.raises(AuditError, match="rule files/missing-optimizer crashed, so nothing is handed out"):
        consult(run, registry=broken)


def test_of_several_rules_that_crashed_the_first_is_named(run: str) -> None:
    def crash(*_: object) -> Any:
        raise KeyError("x")

    registry = load()
    first, second = (
        rule for rule in registry.rules if rule.id in ("files/missing-optimizer", "files/missing-scheduler")
    )
    broken = registry.with_rules([rule._replace(function=crash) for rule in (first, second)])

    with pytest.raises(AuditError, match=f"rule {first.id} crashed"):
        consult(run, registry=broken)


def test_the_guard_passes_over_the_checkpoint_that_a_rule_crashed_on(run: str) -> None:
    registry = load()
    rule = next(rule for rule in registry.rules if rule.id == "files/missing-optimizer")

    def crash(checkpoint: Checkpoint, *_: object) -> Any:
        if checkpoint.step == 300:
            raise KeyError("x")
        return iter(())

    broken = registry.with_rules([rule._replace(function=crash)])

    decision = consult(run, registry=broken).decision

    assert (decision.checkpoint, names(decision)) == ("checkpoint-200", ["checkpoint-300"])
    assert "a rule of checkpoint-audit crashed on it (KeyError: 'x'" in decision.skipped[0].reason
    assert (
        "report this, with the output of audit verify --format json (files/missing-optimizer)"
        in decision.skipped[0].reason
    )
    with pytest.raises(AuditError, match="crashed, so nothing is handed out"):
        consult(run, Limits(strict=True), registry=broken)


@pytest.mark.parametrize("damage", ["edit", "overwrite"])
def test_a_ledger_that_is_not_used_is_said_and_strict_refuses_an_edited_one(run: str, damage: str) -> None:
    verify(run, SETTLED)
    if damage == "edit":
        execute(run, "DELETE FROM rows WHERE number = 2")
    else:
        Path(run, ".audit", "ledger.db").write_bytes(b"garbage")

    decision, report = consult(run, options=SETTLED)

    assert decision.checkpoint == "checkpoint-300"
    assert any("is not used" in note for note in report.notes)
    refusal = decided(run, strict=True).refusal
    assert ("the history was edited" in (refusal or "")) is (damage == "edit")


# -- from Python ------------------------------------------------------------------------------------------------


def test_from_python_it_is_a_path_none_or_an_exception(run: str, tmp_path: Path) -> None:
    assert audit.guard(run) == Path(run, "checkpoint-300")
    assert audit.guard(Path(run)) == Path(run, "checkpoint-300")
    assert audit.guard(tmp_path / "new", allow_missing=True) is None
    with pytest.raises(AuditError, match=r"there is no directory .* or give allow_missing=True, otherwise"):
        audit.guard(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuditError, match=r"say so with Options\(allow_empty=True\)"):
        audit.verify(tmp_path / "empty")

    breaks(run, 100, 200, 300)
    with pytest.raises(ResumeRefused, match="allow_fresh=True starts over at step 0") as refused:
        audit.guard(run)
    assert refused.type is audit.ResumeRefused
    assert refused.value.decision.refusal == "no checkpoint can be resumed from"
    assert str(refused.value).startswith(f"{run}: ")
    assert refused.value.report.count(audit.Severity.ERROR) == 3
    assert audit.guard(run, allow_fresh=True) is None


def test_from_python_strict_refuses_too(run: str) -> None:
    breaks(run, 300)

    assert audit.guard(run) == Path(run, "checkpoint-200")
    with pytest.raises(ResumeRefused, match="missing-optimizer"):
        audit.guard(run, strict=True)


# -- what is recorded -------------------------------------------------------------------------------------------


def recorded(run: str) -> list[dict[str, Any]]:
    from audit.ledger.store import open_ledger

    ledger = open_ledger(run, write=False)
    if ledger is None:
        return []
    with closing(ledger):
        return [dict(row.content) for row in ledger.rows() if row.kind == "guard"]


def test_what_was_handed_out_is_recorded_and_a_refusal_is_not(run: str) -> None:
    breaks(run, 300)
    decided(run, strict=True)
    assert recorded(run) == []
    decided(run)
    assert recorded(run) == [{"checkpoint": "checkpoint-200", "step": 200, "fresh": False}]


def test_without_a_ledger_nothing_is_recorded(run: str) -> None:
    guarded: Guarded = consult(run, options=SETTLED._replace(ledger=False))

    assert guarded.decision.checkpoint == "checkpoint-300"
    assert not Path(run, ".audit").exists()
