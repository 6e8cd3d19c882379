"""audit export: log history and checkpoints of a run, for other programs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import edit_state, make_run
from tests.accelerate import make_accelerate
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def rows(audit: Audit, run: str, *options: str) -> list[dict[str, str]]:
    ended = audit("export", run, "--format", "csv", *options)
    assert (ended.code, ended.err) == (0, "")
    return list(csv.DictReader(io.StringIO(ended.out)))


def document(audit: Audit, run: str) -> dict[str, Any]:
    ended = audit("export", run)
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out, parse_constant=pytest.fail)
    return found


def test_the_log_is_as_trainer_wrote_it(audit: Audit, run: str) -> None:
    found = document(audit, run)
    written = json.loads(Path(run, "checkpoint-300", "trainer_state.json").read_text())["log_history"]
    assert found["lineages"] == [{"checkpoints": [f"checkpoint-{n}" for n in (100, 200, 300)], "log": written}]
    assert [(item["name"], item["step"], item["lineage"], item["state"]) for item in found["checkpoints"]] == [
        (f"checkpoint-{n}", n, 0, "resumable") for n in (100, 200, 300)
    ]


def test_a_row_of_the_log_names_the_first_checkpoint_that_holds_it(audit: Audit, run: str) -> None:
    table = rows(audit, run)
    assert [row["step"] for row in table] == [str(step) for step in range(10, 301, 10)]
    assert {row["step"]: row["checkpoint"] for row in table}["110"] == "checkpoint-200"
    assert list(table[0]) == ["lineage", "checkpoint", "step", "epoch", "grad_norm", "learning_rate", "loss"]


def test_the_checkpoints_are_a_table_of_their_own(audit: Audit, run: str) -> None:
    table = rows(audit, run, "--table", "checkpoints")
    assert [(row["name"], row["files"], row["kind"]) for row in table] == [
        (f"checkpoint-{n}", "8", "adapter") for n in (100, 200, 300)
    ]
    assert "--table applies to CSV only" in one_line(audit("export", run, "--table", "log"))


def test_every_history_of_a_run_is_there(audit: Audit, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    make_run(run, (150,), seed=1)
    assert {row["lineage"] for row in rows(audit, run)} == {"0", "1"}
    assert sum(len(item["log"]) for item in document(audit, run)["lineages"]) == 20 + 15


def test_one_checkpoint_alone_can_be_exported(audit: Audit, run: str) -> None:
    found = document(audit, f"{run}/checkpoint-200")
    assert [item["name"] for item in found["checkpoints"]] == ["checkpoint-200"]
    assert len(found["lineages"][0]["log"]) == 20


def test_numbers_that_json_has_no_word_for_are_texts(audit: Audit, run: str) -> None:
    edit_state(f"{run}/checkpoint-300", log_history=[{"step": 1, "loss": float("nan"), "x": [float("inf")]}])
    assert document(audit, f"{run}/checkpoint-300")["lineages"][0]["log"] == [{"step": 1, "loss": "nan", "x": ["inf"]}]
    assert rows(audit, f"{run}/checkpoint-300")[0]["x"] == '["inf"]'


def test_text_that_a_spreadsheet_would_execute_is_marked_as_text(audit: Audit, run: str) -> None:
    entry = {
        "step": 1,
        "loss": -0.5,
        "x": "=cmd|' /C calc'!A0",
        "=evil": 1,
        "nested": {"a": "=1"},
        "low": float("-inf"),
    }
    edit_state(f"{run}/checkpoint-300", log_history=[entry])
    row = rows(audit, f"{run}/checkpoint-300")[0]
    assert (row["loss"], row["x"], row["'=evil"], row["low"]) == ("-0.5", "'=cmd|' /C calc'!A0", "1", "-inf")


def test_a_log_of_a_thousand_different_keys_has_a_bounded_number_of_columns(audit: Audit, run: str) -> None:
    history = [{"step": step, "epoch": 1, "loss": 1.0, f"key-{step}": step} for step in range(1, 1001)]
    edit_state(f"{run}/checkpoint-300", log_history=history)
    table = rows(audit, f"{run}/checkpoint-300")
    assert len(table[0]) <= 205
    assert (table[999]["loss"], json.loads(table[999]["others"])) == ("1.0", {"key-1000": 1000})


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_text_with_a_line_end_of_any_kind_stays_one_cell(audit: Audit, run: str, end: str) -> None:
    edit_state(f"{run}/checkpoint-300", log_history=[{"step": 1, "epoch": 1, "loss": 1.0, "note": f"a{end}=b"}])

    text = audit("export", f"{run}/checkpoint-300", "--format", "csv").out

    assert "\r" not in text
    assert '"a\n=b"' in text
    assert rows(audit, f"{run}/checkpoint-300")[0]["note"] == "a\n=b"


def test_keys_that_are_named_like_our_columns_are_kept(audit: Audit, run: str) -> None:
    entry = {"step": 1, "checkpoint": "theirs", "lineage": 7, "others": 5}
    edit_state(f"{run}/checkpoint-300", log_history=[entry])
    row = rows(audit, f"{run}/checkpoint-300")[0]
    assert (row["checkpoint"], row["lineage"], row["log.others"]) == ("checkpoint-300", "0", "5")
    assert json.loads(row["others"]) == {"checkpoint": "theirs", "lineage": 7}


def test_a_checkpoint_without_a_readable_log_is_still_listed(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").write_text("{")
    item = document(audit, run)["checkpoints"][-1]
    assert (item["name"], item["lineage"], item["state"]) == ("checkpoint-300", None, "broken")
    assert rows(audit, f"{run}/checkpoint-300") == []


def test_it_is_written_to_a_file_but_never_into_a_checkpoint(audit: Audit, run: str) -> None:
    ended = audit("export", run, "-o", "run.json")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert json.loads(Path("run.json").read_text())["schema_version"] == 1
    assert "is inside a checkpoint" in one_line(audit("export", run, "-o", f"{run}/checkpoint-300/run.json"))
    assert not Path(run, "checkpoint-300", "run.json").exists()
    assert "cannot be written" in one_line(audit("export", run, "-o", "nowhere/run.json"))


def test_checkpoints_of_a_trainer_that_keeps_no_log(audit: Audit, tmp_path: Path) -> None:
    run = make_accelerate(tmp_path / "run")
    names = [f"step_{step}" for step in (100, 200, 300)]

    assert [item["log"] for item in document(audit, run)["lineages"]] == [[]]
    assert [row["name"] for row in rows(audit, run, "--table", "checkpoints")] == names
    refused = one_line(audit("export", run, "--format", "csv"))
    assert "no checkpoint has a log" in refused
    assert "add --table checkpoints" in refused


def test_a_log_without_entries_is_a_table_without_rows(audit: Audit, run: str) -> None:
    for step in (100, 200, 300):
        edit_state(f"{run}/checkpoint-{step}", log_history=[])

    assert rows(audit, run) == []
