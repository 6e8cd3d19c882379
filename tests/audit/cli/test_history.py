"""audit history: the ledger's batches, for people and for programs."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema

from audit.retention.lock import RunLock
from tests.audit.batch_rows import append, event, finished, leg, tell
from tests.audit.cli.conftest import Ended, one_line
from tests.audit.seals import execute

Audit = Callable[..., Ended]


def three_batches(run: str) -> str:
    tell(run, leg("monday", 0, 100), finished("monday", 0, 100, losses=[[1, 2.5], [50, 2.0], [100, 1.25]]))
    tell(run, event("retired", "monday", to="done/monday.jsonl"))
    tell(run, event("rejected", "bad", reason="row 7: has no text", to="rejected/bad.jsonl"))
    tell(run, leg("tuesday", 100, 200, epochs=2), leg("tuesday", 150, 200, epochs=2, done=200))
    return tell(
        run,
        finished("tuesday", 100, 200),
        leg("wednesday", 200, 300),
        event("stopped", "wednesday", step=240, signal=15),
    )


def test_the_batches_are_a_table(audit: Audit, run: str) -> None:
    ended = audit("history", three_batches(run))

    assert (ended.code, ended.err) == (0, "")
    head, monday, tuesday, wednesday, total, blank, title, _, bad = ended.out.splitlines()
    assert " ".join(head.split()) == "# FILE STATE STEPS EXAMPLES EPOCHS LOSS LEGS STARTED (UTC) DURATION"
    assert monday.split()[:10] == ["1", "monday.jsonl", "retired", "1-100", "400", "1", "2.5", "->", "1.25", "1"]
    assert tuesday.split()[:8] == ["2", "tuesday.jsonl", "finished", "101-200", "400", "2", "-", "2"]
    assert wednesday.split()[:6] == ["3", "wednesday.jsonl", "stopped", "201-240", "of", "300"]
    assert wednesday.endswith("SIGTERM")
    assert total == "3 batches, 2 trained to the end, step 240, 800 examples"
    assert (blank, title) == ("", "not trained:")
    assert bad.split()[:2] == ["bad.jsonl", "rejected"]
    assert bad.endswith("rejected/bad.jsonl  row 7: has no text")


def test_batches_that_a_step_back_gave_up_are_named(audit: Audit, run: str) -> None:
    tell(three_batches(run), leg("monday", 50, 100, done=200))

    out = audit("history", run).out

    assert out.splitlines()[1].split()[2:6] == ["interrupted", "1-50", "of", "100"]
    given_up = out.partition("rolled back, to be trained again:\n")[2]
    assert [line.split()[0] for line in given_up.splitlines()[1:3]] == ["tuesday.jsonl", "wednesday.jsonl"]


def test_going_back_is_shown_before_and_after_it_is_finished(audit: Audit, run: str) -> None:
    tell(
        three_batches(run),
        {
            "event": "back",
            "checkpoint": "checkpoint-100",
            "step": 100,
            "place": "",
            "drop": [["digest of wednesday", "wednesday.jsonl"]],
        },
    )

    out = audit("history", run).out

    assert [line.split()[2:4] for line in out.splitlines()[1:4]] == [
        ["retired", "1-100"],
        ["rolled", "back"],
        ["dropped", "201-240"],
    ]
    assert "taken back (--back-to):" in out
    assert out.endswith("the last one was interrupted; the next audit train finishes it\n")
    tell(run, {"event": "went-back", "step": 100})
    line = audit("history", run).out.splitlines()[-1]
    assert (line.split()[:2], line.split()[-1]) == (["checkpoint-100", "100"], "wednesday.jsonl")


def test_a_changed_setting_is_shown_with_its_step(audit: Audit, run: str) -> None:
    tell(run, leg("a", 0, 100), leg("b", 100, 200) | {"changes": {"learning_rate": 5e-05}})

    assert "changed (--change): learning_rate is 5e-05 from step 101 on\n" in audit("history", run).out
    found = json.loads(audit("history", run, "--format", "json").out)
    assert found["changes"] == [{"step": 100, "settings": {"learning_rate": 5e-05}}]


def test_only_a_run_that_is_locked_is_training(audit: Audit, run: str) -> None:
    tell(three_batches(run), leg("monday", 50, 100, done=200))

    with RunLock(run, "trained"):
        assert audit("history", run).out.splitlines()[1].split()[2] == "training"
        assert json.loads(audit("history", run, "--format", "json").out)["running"]

    assert audit("history", run).out.splitlines()[1].split()[2] == "interrupted"
    assert not json.loads(audit("history", run, "--format", "json").out)["running"]


def test_the_history_as_json_fits_its_schema(audit: Audit, run: str) -> None:
    schema = json.loads((files("audit") / "schemas" / "history-1.json").read_text(encoding="utf-8"))
    document = json.loads(audit("history", three_batches(run), "--format", "json").out)

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert document.keys() == schema["properties"].keys()
    assert document["batches"]
    assert document["aside"]


def test_a_batch_whose_file_was_lost_in_the_middle_is_named_so(audit: Audit, run: str) -> None:
    tell(three_batches(run), event("lost", "wednesday"), finished("wednesday", 200, 240), event("retired", "wednesday"))

    lines = audit("history", run).out.splitlines()

    assert lines[3].split()[2:5] == ["rolled", "back", "201-240"]
    assert lines[4].startswith("3 batches, 2 trained to the end, step 240")


def test_for_programs_it_is_json_with_the_losses(audit: Audit, run: str) -> None:
    document = json.loads(audit("history", three_batches(run), "--format", "json").out)

    assert document["schema_version"] == 1
    assert [item["state"] for item in document["batches"]] == ["retired", "finished", "stopped"]
    assert document["batches"][0]["losses"] == [[1, 2.5], [50, 2.0], [100, 1.25]]
    assert document["batches"][0]["to"] == "done/monday.jsonl"
    assert [item["reason"] for item in document["aside"]] == ["row 7: has no text"]
    assert document["redo"] == []


def test_a_run_without_a_ledger_and_one_without_batches_are_one_line(audit: Audit, run: str) -> None:
    ended = audit("history", run)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{run}: audit train has trained no batch here: it has no ledger\n"
    assert json.loads(audit("history", run, "--format", "json").out)["batches"] == []

    append(run, ("guard", {"step": 0}))
    assert audit("history", run).out.endswith("its ledger records none\n")


def test_it_writes_nothing(audit: Audit, run: str) -> None:
    three_batches(run)

    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in Path(run).rglob("*") if path.is_file()
        }

    before = state()
    assert audit("history", run).code == 0
    assert state() == before


def test_an_edited_ledger_is_refused(audit: Audit, run: str) -> None:
    three_batches(run)
    execute(run, "UPDATE rows SET content = replace(content, '400', '999') WHERE number = 1")

    ended = audit("history", run)

    assert "the history was edited" in one_line(ended)


def test_a_run_that_is_not_there_is_refused(audit: Audit) -> None:
    ended = audit("history", "nowhere")

    assert ended.code == 2
    assert "no such run" in one_line(ended)


def test_names_from_the_ledger_do_no_harm_to_a_terminal(audit: Audit, run: str) -> None:
    hostile = "\x1b]0;gone\x07\x1b[2J\u202e\n" + "x" * 5000
    rows = [leg("a", 0, 10), event("failed", "a", step=10**400, kind=hostile, reason=hostile, losses=[[1, 10**400]])]
    rows[0]["file"] = hostile
    tell(run, *rows, {**event("rejected", "b"), "file": hostile, "reason": hostile, "to": hostile})
    tell(run, {**event("duplicate", "b"), "file": None, "reason": 7, "to": ["x"]}, {"event": "leg", "batch": "c"})

    out = audit("history", run).out

    assert all(char.isprintable() or char == "\n" for char in out)
    assert "\u202e" not in out
    assert max(map(len, out.splitlines())) < 700
    assert audit("history", run, "--format", "json").code == 0


def test_a_read_only_run_is_told_all_the_same(audit: Audit, run: str) -> None:
    three_batches(run)
    os.chmod(f"{run}/.audit", 0o500)
    try:
        assert audit("history", run).code == 0
    finally:
        os.chmod(f"{run}/.audit", 0o700)
