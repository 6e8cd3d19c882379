"""It opens, judges and reports: with the rules of the options, its own clock, and the pins as a run of their own."""

import shutil
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.facts.place import anything_to_record
from audit.facts.run import Run, open_run
from audit.judging.auditor import Auditor, refuse_unread
from audit.manager import load
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.runs import make_run
from tests.audit.seals import verified

SETTLED = Options(settle_seconds=0)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_it_judges_by_the_rules_that_the_options_choose(run: str) -> None:
    report = Auditor(SETTLED._replace(select=("steps",))).judge(run).report

    assert {item.rule.partition("/")[0] for item in report.outcomes} == {"steps"}
    assert report.seconds > 0


def test_exactness_makes_rules_block_that_otherwise_warn() -> None:
    lax, exact = Auditor(SETTLED), Auditor(SETTLED, exact=True)

    changed = {one.id for one, other in zip(lax.rules, exact.rules, strict=True) if one != other}
    assert changed == {rule.id for rule in lax.rules if rule.breaks_exactness and not rule.blocks_resume}
    assert changed


def test_who_admits_runs_may_refuse_one_before_it_is_judged(run: str) -> None:
    def refuse(opened: Run) -> None:
        raise AuditError(f"{len(opened.checkpoints)} are too many")

    with pytest.raises(AuditError, match="3 are too many"):
        Auditor(SETTLED).judge(run, admit=refuse)


def test_pins_are_judged_only_where_they_are_further_on(run: str) -> None:
    verified(run)
    auditor = Auditor(SETTLED)
    opened = auditor.open(run)
    assert auditor.judge_pins(opened, beyond=0) is None
    pin(run, "checkpoint-300")

    assert auditor.judge_pins(opened, beyond=300) is None
    judged = auditor.judge_pins(opened, beyond=200)
    assert judged is not None
    assert [item.name for item in judged.run.checkpoints] == ["checkpoint-300"]
    assert judged.report.findings == ()


def test_opened_quickly_nothing_is_recorded_and_no_weight_is_read(run: str) -> None:
    opened = Auditor(SETTLED).open_quick(run)

    assert opened.depth == "quick"
    assert opened.checkpoints[-1].optional("scan") is None
    assert not Path(run, ".audit").exists()


def test_a_directory_without_checkpoints_or_records_stays_as_it_is(run: str, tmp_path: Path) -> None:
    assert anything_to_record(run)
    shutil.rmtree(run)
    Path(run).mkdir()

    assert not anything_to_record(run)
    assert not anything_to_record(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["best/trainer_state.json", "best/optimizer.pt"], "best is a Trainer checkpoint"),
        (["latest_checkpointed_iteration.txt"], "the tracker file of Megatron, NeMo or verl"),
        (["saved/random_states_0.pkl"], "saved is a checkpoint of accelerate"),
        (["global_step_10/weights.bin"], "a checkpoint of DeepSpeed or another trainer"),
        (["model.safetensors"], None),
        (["latest"], None),
        (["base.nemo"], None),
        ([], None),
    ],
)
def test_a_run_of_checkpoints_that_nobody_reads_is_refused_and_an_empty_one_is_not(
    names: list[str], refused: str | None, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    opened = Auditor(SETTLED).open_quick(str(tmp_path))
    if refused is None:
        refuse_unread(opened)
        return
    with pytest.raises(AuditError, match=refused):
        refuse_unread(opened)
    lost = opened.records._replace(highest_reached=10)
    refuse_unread(open_run(str(tmp_path), load().backends, depth="quick", records=lost))
