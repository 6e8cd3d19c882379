from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.testing.judging import check
from audit.testing.runs import edit_state, make_run


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("loss", "1.25", "'1.25'"),
        ("loss", None, "null"),
        ("grad_norm", True, "true"),
        ("learning_rate", {}, "an object"),
        ("eval_loss", [1], "a list"),
    ],
)
def test_what_is_no_number_is_named_with_its_step(tmp_path: Path, key: str, value: Any, shown: str) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log[:-1], {**log[-1], key: value}])

    (finding,) = check(run, "history/invalid-value")

    assert finding.message.startswith(f"At step 300 the log has {shown} for {key}")
    assert finding.severity is Severity.ERROR


def test_of_several_the_first_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(
        tmp_path / "checkpoint-100",
        log_history=lambda log: [{**log[0], "loss": None}, {**log[1], "loss": True}, *log[2:]],
    )

    (finding,) = check(run, "history/invalid-value")

    assert finding.message == (
        "At step 10 the log has null for loss, which is not a number, nor are 1 more values of the log"
    )


@pytest.mark.parametrize(("length", "shown"), [(38, "a" * 38), (39, "a" * 36 + "...")])
def test_a_long_text_is_cut(tmp_path: Path, length: int, shown: str) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(tmp_path / "checkpoint-100", log_history=lambda log: [{**log[0], "loss": "a" * length}])

    assert f"the log has '{shown}" in check(run, "history/invalid-value")[0].message


def test_not_a_number_and_infinity_are_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = {"grad_norm": float("nan"), "loss": float("inf")}
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log[:-1], {**log[-1], **values}])

    assert check(run, "history/invalid-value") == []


def test_a_text_of_the_users_own_callback_is_an_info(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log, {"phase": "second", "step": 300}])

    assert [item.severity for item in check(run, "history/invalid-value")] == [Severity.INFO]


def test_a_bad_value_is_reported_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (200, 300):
        edit_state(
            tmp_path / f"checkpoint-{step}", log_history=lambda log: [*log[:14], {**log[14], "loss": None}, *log[15:]]
        )

    assert [item.checkpoint for item in check(run, "history/invalid-value")] == ["checkpoint-200"]
