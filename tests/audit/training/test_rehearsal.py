"""What is rehearsed of a run of audit train: which steps, from which data, and what is recorded of it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.rehearsal import Rehearsal
from audit.errors import AuditError
from audit.ledger.events import Rehearsed
from audit.ledger.seals import seal_digest, seals_of
from audit.training.batch_log import BatchLog
from tests.audit.training.stage import Rehearsing, Stage
from tests.audit.training.toy import Toy


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Stage]:
    def made(*arguments: Any, **more: Any) -> Stage:
        found = Stage(tmp_path, *arguments, **more)
        found.use(Rehearsing(found.run))
        return found

    return made


@pytest.fixture
def shop(make: Callable[..., Stage]) -> Stage:
    """Two files of 12 examples: steps 1 to 6 and 7 to 12, saved every 3 steps."""
    found = make()
    found.drop("a.jsonl", list(range(12)))
    found.drop("b.jsonl", list(range(20, 32)))
    assert found.train() == 0
    return found


def test_the_steps_after_a_checkpoint_are_those_of_the_ledger(shop: Stage) -> None:
    found = shop.rehearse("3")
    [asked] = shop.backend.asked
    assert (asked.steps, asked.leg.first_step, asked.leg.last_step, asked.leg.data.first) == (3, 3, 6, 6)
    assert asked.leg.data.path == str(shop.home / "done" / "a.jsonl")
    assert asked.leg.run != str(shop.run)
    assert [os.path.basename(path) for _, path in asked.arrivals] == ["checkpoint-6"]
    assert (found.same, found.exact, found.log, found.exit_code) == (True, True, "checkpoint-12", 0)
    assert [item.examples for item in found.logged] == [(6, 7), (8, 9), (10, 11)]


def test_at_the_end_of_a_batch_the_next_one_is_rehearsed(shop: Stage) -> None:
    assert shop.rehearse("checkpoint-6").same
    [asked] = shop.backend.asked
    assert (asked.steps, asked.leg.data.first) == (5, 0)
    assert asked.leg.data.path.endswith("b.jsonl")


def test_by_default_it_is_what_the_guard_hands_out_and_says_that_no_step_is_judged(shop: Stage) -> None:
    found = shop.rehearse()
    assert found.checkpoint.endswith("checkpoint-12")
    assert found.unjudged == "nothing was trained after it; --checkpoint 9 rehearses the steps up to it"
    assert (found.exit_code, shop.backend.asked[0].steps) == (0, 0)


def test_no_more_steps_than_asked_for(shop: Stage) -> None:
    assert len(shop.rehearse("3", steps=2).rehearsal.steps) == 2
    assert shop.rehearse("3", steps=0).unjudged == "none was asked for (--steps 0)"


def test_fewer_steps_than_asked_for_are_said_with_the_reason(shop: Stage) -> None:
    found = shop.rehearse("3", steps=9)
    assert (found.asked, found.judgement.steps) == (9, 3)
    assert "3 of 9 steps are compared: what was trained in one go ends at step 6" in found.notes
    assert str(found).endswith("same in 3 of the 9 steps asked for")
    shutil.rmtree(shop.run / "checkpoint-12")
    found = shop.rehearse("6", steps=4)
    assert "3 of 4 steps are compared: the log of checkpoint-9 has none after step 9" in found.notes


def test_a_training_that_ends_before_the_steps_that_were_asked_for_differs(shop: Stage) -> None:
    shop.backend.change = lambda found: found._replace(steps=found.steps[:1])
    found = shop.rehearse("3")
    assert found.exit_code == 1
    assert found.first_difference == "step 5: training: ended after step 4, expected to go on as in the log"


def test_a_batch_that_was_interrupted_goes_on_to_its_end(make: Callable[..., Stage]) -> None:
    shop = make()
    shop.drop("a.jsonl", list(range(12)))
    shop.backend.stop_after = 2
    assert shop.train() == 143
    shop.backend.stop_after = None
    assert shop.train() == 0
    assert shop.rehearse("2").same
    assert shop.backend.asked[0].leg.data.first == 4
    assert len(shop.backend.asked[0].leg.data.order or "") > 0


def test_several_files_and_replayed_rows_are_put_together_again(make: Callable[..., Stage]) -> None:
    shop = make("group = 8\nreplay = 0.5")
    shop.drop("a.jsonl", list(range(4)))
    shop.drop("b.jsonl", list(range(20, 24)))
    assert shop.train() == 0
    shop.drop("c.jsonl", list(range(40, 48)))
    assert shop.train() == 0
    assert shop.rehearse("4").same
    assert shop.rehearse("3").same
    assert shop.names("run/.audit") == sorted({*shop.names("run/.audit")} - {"scratch"})


def test_what_differs_is_exit_code_1_and_is_recorded_as_such(shop: Stage) -> None:
    shop.backend.change = lambda found: found._replace(
        steps=tuple(item._replace(loss=9.0, grad_norm=9.0) if item.step > 4 else item for item in found.steps)
    )
    found = shop.rehearse("3")
    assert found.exit_code == 1
    assert sorted({item.step for item in found.judgement.differences if item.step}) == [5, 6]
    [row] = shop.recorded()
    assert (row.same, row.checkpoint, row.text) == (False, "checkpoint-3", found.first_difference)


def test_a_sealed_checkpoint_that_is_the_same_is_recorded_with_its_seal(shop: Stage) -> None:
    shop.rehearse("3")
    seal = seals_of(BatchLog(str(shop.run)).rows())["checkpoint-3"]
    assert shop.recorded() == [Rehearsed("checkpoint-3", 3, 3, True, True, seal_digest(seal))]


def test_a_checkpoint_of_which_neither_weights_nor_a_step_were_compared_is_not_recorded(shop: Stage) -> None:
    def sharded(found: Rehearsal) -> Rehearsal:
        parts = (part._replace(values=0, missed="in pieces") for part in found.restored if part.part != "random states")
        return found._replace(restored=(*parts, found.restored[-1]))

    shop.backend.change = sharded
    found = shop.rehearse("3", steps=0)
    assert "not recorded: neither its weights nor a step were compared" in found.notes
    assert (found.exit_code, shop.recorded()) == (0, [])
    shop.rehearse("3", steps=1)
    assert [row.steps for row in shop.recorded()] == [1]


def test_nothing_is_recorded_where_nobody_wants_it(shop: Stage) -> None:
    shop.rehearse("3", record=False)
    assert shop.recorded() == []


def test_a_checkpoint_that_is_not_as_it_was_sealed_is_rehearsed_and_not_recorded(shop: Stage) -> None:
    (shop.run / "checkpoint-3" / "rng_state.pth").write_bytes(b"other")
    found = shop.rehearse("3")
    assert any("blocks a resume" in note for note in found.notes)
    assert any(note.startswith("not recorded") for note in found.notes)
    assert shop.recorded() == []


def test_neither_the_checkpoints_nor_the_data_are_touched(shop: Stage) -> None:
    def seen() -> dict[str, tuple[int, int, int]]:
        homes = [*shop.run.glob("checkpoint-*"), shop.home / "done", shop.inbox]
        paths = [*homes, *(path for home in homes for path in home.rglob("*"))]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_ino) for path in paths}

    before = seen()
    shop.rehearse("3")
    assert seen() == before


def test_data_that_is_gone_is_not_judged_and_exit_code_2(shop: Stage) -> None:
    (shop.home / "done" / "a.jsonl").unlink()
    found = shop.rehearse("3")
    assert (found.exit_code, found.lacking, shop.backend.asked[0].steps) == (2, True, 0)
    assert "a.jsonl is neither in" in (found.unjudged or "")


def test_a_row_that_was_exchanged_is_found_before_any_step(shop: Stage) -> None:
    path = shop.home / "done" / "a.jsonl"
    path.write_text(path.read_text().replace("[1, 1]", "[9, 9]"))
    assert "changed" in (shop.rehearse("3").unjudged or "")


def test_data_that_was_deleted_on_purpose_is_only_said(make: Callable[..., Stage]) -> None:
    shop = make('after = "delete"')
    shop.drop("a.jsonl", list(range(12)))
    assert shop.train() == 0
    found = shop.rehearse("3")
    assert (found.exit_code, found.lacking) == (0, False)
    assert "deleted after it was trained" in (found.unjudged or "")


def test_a_log_of_no_later_checkpoint_judges_no_step(shop: Stage) -> None:
    for name in ("checkpoint-6", "checkpoint-9", "checkpoint-12"):
        shutil.rmtree(shop.run / name)
    assert (shop.rehearse("3").unjudged or "").startswith("the log of no later checkpoint has them")


def test_other_versions_are_compared_within_tolerances(shop: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rehearsing, "libraries", ("pytest", "numpy"))
    found = shop.rehearse("3")
    assert not found.exact
    assert (found.inexact or "").startswith("they were trained elsewhere: numpy not there then")


def test_a_ledger_that_does_not_name_the_machine_is_compared_within_tolerances(
    make: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make()
    shop.drop("a.jsonl", list(range(12)))
    monkeypatch.delattr(Rehearsing, "libraries")
    assert shop.train() == 0
    monkeypatch.undo()
    assert "does not say on which machine" in (shop.rehearse("3").inexact or "")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("4", "has no checkpoint-4; there: "),
        ("best", "is no checkpoint"),
        ("²", "is no checkpoint"),
        ("9" * 5000, "is no checkpoint"),
        ("checkpoint-99", "has no checkpoint-99"),
    ],
)
def test_a_checkpoint_that_is_not_there(shop: Stage, wanted: str, text: str) -> None:
    with pytest.raises(AuditError, match=text):
        shop.rehearse(wanted)


def test_a_checkpoint_that_is_not_whole_is_not_rehearsed(shop: Stage) -> None:
    (shop.run / "checkpoint-3" / "trainer_state.json").unlink()
    with pytest.raises(AuditError, match="was not written to its end"):
        shop.rehearse("3")


def test_steps_that_the_ledger_does_not_know(shop: Stage) -> None:
    shutil.rmtree(shop.run / ".audit")
    with pytest.raises(AuditError, match=r"audit_hf_trainer.rehearse\(\)"):
        shop.rehearse("3")


def test_another_number_of_processes(shop: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AuditError, match="trained by 1 process, and this is 2"):
        shop.rehearse("3")


def test_a_backend_that_cannot_rehearse(shop: Stage) -> None:
    shop.use(Toy())
    with pytest.raises(AuditError, match="the backend toy cannot rehearse"):
        shop.rehearse("3")


def test_a_run_that_is_not_there(make: Callable[..., Stage]) -> None:
    with pytest.raises(AuditError, match="there is no such directory"):
        make().rehearse()
