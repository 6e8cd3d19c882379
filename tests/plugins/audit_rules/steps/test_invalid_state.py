from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state, make_run


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"global_step": -1}, "global_step is -1"),
        ({"global_step": "300"}, "global_step is '300'"),
        ({"log_history": {}}, "log_history is not a list"),
        ({"log_history": [1]}, "An entry of log_history is not an object"),
        ({"train_batch_size": None}, "train_batch_size is null"),
        ({"max_steps": None}, "max_steps is null"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", **changes)

    (finding,) = check(run, "steps/invalid-state")

    assert finding.checkpoint == "checkpoint-300"
    assert named in finding.message
    assert finding.blocks_resume


def test_all_that_is_wrong_is_one_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", remove=["global_step"], epoch="three")

    (finding,) = check(run, "steps/invalid-state")

    assert "global_step is missing" in finding.message
    assert "epoch is 'three'" in finding.message


@pytest.mark.parametrize(("bad", "more"), [(5, False), (7, True)])
def test_of_much_that_is_wrong_the_first_five_are_named(tmp_path: Path, bad: int, more: bool) -> None:
    run = make_run(tmp_path)
    numbers = ["max_steps", "num_train_epochs", "save_steps", "eval_steps", "logging_steps", "epoch", "global_step"]
    wrong: dict[str, Any] = dict.fromkeys(numbers[:bad], "many")
    edit_state(tmp_path / "checkpoint-300", **wrong)

    (finding,) = check(run, "steps/invalid-state")

    assert finding.message.count(" is 'many'") == 5
    assert ("(and 2 more)" in finding.message, "more)" in finding.message) == (more, more)


def test_a_bad_entry_is_reported_where_it_came_in(tmp_path: Path) -> None:
    run = make_run(tmp_path)

    def spoil(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in entry.items() if (key, entry["step"]) != ("step", 150)} for entry in log]

    for step in (200, 300):
        edit_state(tmp_path / f"checkpoint-{step}", log_history=spoil)

    (finding,) = check(run, "steps/invalid-state")

    assert finding.checkpoint == "checkpoint-200"
    assert outcome(run, "steps/invalid-state", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_an_unknown_key_in_one_checkpoint_is_a_warning_and_no_obstacle(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", some_new_key=1)

    (finding,) = check(run, "steps/invalid-state")

    assert finding.severity is Severity.WARNING
    assert "some_new_key" in finding.message
    assert "others of this run do not" in finding.message
    assert not finding.blocks_resume


def test_of_many_unknown_keys_five_are_named_and_long_ones_are_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    keys: dict[str, Any] = {f"new_{number}": 1 for number in range(6)}
    edit_state(tmp_path / "checkpoint-300", **keys)
    long: dict[str, Any] = {"k" * 41: 1}
    edit_state(tmp_path / "checkpoint-200", **long)

    short, many = (item.message for item in check(run, "steps/invalid-state"))

    assert f"({'k' * 37}...)," in short
    assert "(new_0, new_1, new_2, new_3, new_4 and 1 more)," in many


def test_an_unknown_key_in_all_of_them_is_a_newer_transformers(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (100, 200, 300):
        edit_state(tmp_path / f"checkpoint-{step}", some_new_key=1)

    found = check(run, "steps/invalid-state")
    assert {item.severity for item in found} == {Severity.INFO}
    assert all("as do all checkpoints of this run" in item.message for item in found)


def test_the_keys_of_an_old_version_and_of_ppo_are_fine(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    late = ["stateful_callbacks", "best_global_step", "num_input_tokens_seen", "logging_steps", "save_steps"]
    for step in (100, 200, 300):
        edit_state(tmp_path / f"checkpoint-{step}", remove=late, episode=1024, train_batch_size=None)

    assert check(run, "steps/invalid-state") == []
