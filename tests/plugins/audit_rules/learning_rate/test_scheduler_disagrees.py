from pathlib import Path
from typing import Any

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_optimizer, edit_scheduler, make_run


def double(document: dict[str, list[dict[str, float]]]) -> None:
    for group in document["param_groups"]:
        group["lr"] *= 2


def test_a_doubled_rate_in_the_optimizer_is_one_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    edit_optimizer(tmp_path / "checkpoint-300", double)

    (finding,) = check(run, "learning-rate/scheduler-disagrees")

    assert finding.file == "optimizer.pt"
    assert finding.message.endswith("learning rate 0.0001, the scheduler says 5e-05 (group 0 of 2)")
    assert {item.rule for item in report(run).findings} == {"learning-rate/scheduler-disagrees"}


def test_a_sound_run_passes(tmp_path: Path) -> None:
    assert check(make_run(tmp_path, fp16=True), "learning-rate/scheduler-disagrees") == []


def test_an_optimizer_of_another_step_is_reported_by_its_own_rule(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-200/optimizer.pt").replace(tmp_path / "checkpoint-300/optimizer.pt")
    make_run(tmp_path / "spare")
    (tmp_path / "spare/checkpoint-200/optimizer.pt").rename(tmp_path / "checkpoint-200/optimizer.pt")

    rules = {item.rule for item in report(run, "learning-rate", "optimizer", "scheduler").findings}

    assert len(rules) == 1
    assert rules.pop().startswith("optimizer/")


def test_a_scheduler_that_records_no_rates_is_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_scheduler(tmp_path / "checkpoint-300", _last_lr=None)

    judged = outcome(run, "learning-rate/scheduler-disagrees", "checkpoint-300")

    assert judged.outcome is Outcome.NOT_APPLICABLE


def test_a_group_is_named_only_where_there_are_several(tmp_path: Path) -> None:
    run = make_run(tmp_path, (300,), max_steps=600)

    def join(document: dict[str, Any]) -> None:
        first, second = document["param_groups"]
        first["params"] += second["params"]
        document["param_groups"].pop()
        double(document)

    edit_optimizer(tmp_path / "checkpoint-300", join)
    edit_scheduler(tmp_path / "checkpoint-300", _last_lr=[5e-5], base_lrs=[1e-4])

    (finding,) = check(run, "learning-rate/scheduler-disagrees")

    assert finding.message.endswith("learning rate 0.0001, the scheduler says 5e-05")
