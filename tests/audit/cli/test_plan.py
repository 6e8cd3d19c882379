"""audit plan, and audit guard with a configuration of audit train."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from audit.cli import run as audit
from audit.manager import load
from audit.testing.runs import make_run

ROOT = Path(__file__).parents[3]
COMMAND = """
run = "run"
backend = "command"
[data]
inbox = "inbox"
epochs = 3
{data}
[command]
argv = ["true", "--max_steps", "{{last_step}}"]
resume_argv = ["{{resume_from}}"]
{command}
[arguments]
{arguments}
[watch]
settle-seconds = 0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path


def configure(
    home: Path,
    arguments: str = 'max_steps = "{last_step}"\nsave_steps = 50\nignore_data_skip = true',
    command: str = "examples_per_step = 16",
    data: str = "",
    more: str = "",
) -> str:
    text = COMMAND.format(arguments=arguments, command=command, data=data) + more
    (home / "train.toml").write_text(text)
    return str(home / "train.toml")


def drop(home: Path, name: str, rows: int) -> None:
    (home / "inbox" / name).write_text("".join(f'{{"text": "{name} {row}"}}\n' for row in range(rows)))


def test_the_example_of_the_documentation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(home, "week-31.jsonl", 2400)  # batch 4, accumulation 4

    assert audit(["plan", configure(home)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["file", "rows", "epochs", "examples", "steps/epoch", "steps", "from..to", "checkpoints"]
    assert lines[4].split() == ["week-31.jsonl", "2400", "3", "7200", "150", "450", "1..450", "9"]
    assert lines[-1] == "this would work"
    assert not (home / "run").exists()


def test_the_findings_in_the_documentation_are_those_of_the_rules() -> None:
    lines = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8").splitlines()
    shown = [(line.split(": ")[1], after.strip()) for line, after in pairwise(lines) if line.startswith("error: plan/")]

    assert shown
    assert shown == [(rule, load().rule(rule).remedy) for rule, _ in shown]


def test_json_is_of_the_published_shape(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema

    import audit as package

    drop(home, "a.jsonl", 2400)
    drop(home, "b.jsonl", 100)
    (home / "inbox/c.jsonl").write_text("no rows")
    schema = json.loads((Path(package.__file__).parent / "schemas/plan-1.json").read_text(encoding="utf-8"))

    assert audit(["plan", configure(home), "--format", "json"]) == 1

    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema)
    assert found["works"] is False
    assert [item["file"] for item in found["set_aside"]] == ["c.jsonl"]
    assert found["totals"] == {"files": 2, "examples": 7500, "steps": 469, "last_step": 469, "checkpoints": 10}
    assert {item["file"] for item in found["outcomes"]} == {"a.jsonl", "b.jsonl"}


def test_the_rates_are_those_of_the_first_and_the_last_step(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(home, "a.jsonl", 160)  # 10 steps in each epoch
    rates = 'max_steps = "{last_step}"\nlr_scheduler_type = "constant_with_warmup"\nwarmup_steps = 10\n'
    config = configure(home, f"{rates}learning_rate = 0.5\nsave_steps = 50\nignore_data_skip = true")

    audit(["plan", config, "--format", "json"])
    fresh = json.loads(capsys.readouterr().out)["schedule"]
    audit(["plan", config])

    assert (fresh["first_rate"], fresh["last_rate"]) == (0, 0.5)
    assert "learning rate: constant_with_warmup, 0 at step 1, 0.5 at step 30\n" in capsys.readouterr().out


def test_a_resume_goes_on_with_the_rates_of_the_checkpoint(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home / "run", per_device_train_batch_size=16, learning_rate=0.25)
    drop(home, "a.jsonl", 160)
    rates = 'max_steps = "{last_step}"\nlr_scheduler_type = "constant"\nlearning_rate = 0.5\n'

    audit(["plan", configure(home, f"{rates}save_steps = 50\nignore_data_skip = true"), "--adopt", "--format", "json"])

    found = json.loads(capsys.readouterr().out)["schedule"]
    assert (found["first_rate"], found["last_rate"]) == (0.25, 0.25)


def test_the_trap_of_one_epoch_is_seen_before_anything_is_trained(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drop(home, "a.jsonl", 800)
    drop(home, "b.jsonl", 800)

    assert audit(["plan", configure(home, "num_train_epochs = 3\nsave_steps = 50")]) == 1

    out = capsys.readouterr().out
    assert "error: plan/nothing-to-train: num_train_epochs is 3, which for the size of b.jsonl ends at step 150" in out
    assert "this would not work" in out


def test_quiet_says_only_what_speaks_against_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(home, "a.jsonl", 100)
    assert audit(["plan", configure(home), "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert audit(["plan", configure(home, 'save_strategy = "no"'), "-q"]) == 1
    assert capsys.readouterr().out.startswith("error: plan/never-saves: ")


def test_steps_that_are_not_known_are_dashes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(home, "a.jsonl", 100)
    drop(home, "b.jsonl", 100)
    config = configure(home, command="", arguments="save_steps = 50")
    Path(config).write_text(Path(config).read_text().replace(', "--max_steps", "{last_step}"', ""))

    assert audit(["plan", config]) == 0

    out = capsys.readouterr().out
    assert "1..-" in out
    assert "disk: unknown" in out


@pytest.mark.parametrize("text", ["run = 1", "no TOML", 'run = "r"\n[data]\ninbox = "i"\nnew = 1\nbackend = "command"'])
def test_a_configuration_that_means_nothing_is_one_line_and_2(
    home: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (home / "train.toml").write_text(text)

    assert audit(["plan", str(home / "train.toml")]) == 2

    error = capsys.readouterr().err
    assert error.startswith("audit plan: ")
    assert error.count("\n") == 1


def test_an_inbox_that_is_not_there_is_2(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "inbox").rmdir()
    assert audit(["plan", configure(home)]) == 2
    assert "data.inbox" in capsys.readouterr().err


def test_rules_for_plans_cannot_judge_a_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(["verify", make_run(home / "run"), "--select", "plan"]) == 2
    assert "check plans" in capsys.readouterr().err


# -- audit guard --config ---------------------------------------------------------------------------------------------


def test_the_guard_refuses_a_plan_that_does_not_fit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(home / "run")
    drop(home, "a.jsonl", 800)

    assert audit(["guard", run, "--config", configure(home, "num_train_epochs = 1\nsave_steps = 50")]) == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "refused" in shown.err
    assert "plan/nothing-to-train" in shown.err


def test_what_is_refused_for_the_plan_is_not_recorded_as_handed_out(home: Path) -> None:
    from audit.ledger.store import open_ledger

    run = make_run(home / "run")
    drop(home, "a.jsonl", 800)
    audit(["guard", run, "--config", configure(home, "num_train_epochs = 1\nsave_steps = 50")])
    ledger = open_ledger(run, False)
    assert ledger is not None
    assert [row.kind for row in ledger.rows() if row.kind == "guard"] == []
    ledger.close()


def test_the_guard_hands_out_for_a_plan_that_fits(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(home / "run", per_device_train_batch_size=16)
    drop(home, "a.jsonl", 800)

    assert audit(["guard", run, "--config", configure(home)]) == 0

    shown = capsys.readouterr()
    assert shown.out == f"{run}/checkpoint-300\n"
    assert shown.err == ""


def test_the_tables_of_the_configuration_say_how_to_guard(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(home / "run")
    (home / "run/checkpoint-300/optimizer.pt").unlink()
    assert audit(["guard", run, "--config", configure(home)]) == 0
    assert capsys.readouterr().out.endswith("checkpoint-200\n")
    assert audit(["guard", run, "--config", configure(home, more="[guard]\nmax-rollback = 50\n")]) == 1
    assert "--max-rollback 50" in capsys.readouterr().err
    config = configure(home, more="[guard]\nmax-rollback = 50\n")
    assert audit(["guard", run, "--config", config, "--max-rollback", "100"]) == 0


def test_the_configuration_of_another_run_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(home / "elsewhere")
    assert audit(["guard", run, "--config", configure(home)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{run}/checkpoint-300\n"
    assert "this run is checked as if it were that one" in shown.err


def test_any_other_configuration_is_that_of_a_verification(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(home / "run")
    (home / "audit.toml").write_text('depth = "quick"\n')
    assert audit(["guard", run, "--config", str(home / "audit.toml")]) == 0
    assert capsys.readouterr().out == f"{run}/checkpoint-300\n"


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.json", '[{"text": "a"}, {"anything": 1}]', 2),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n', 3),
        ("a.json", '{\n "data": []\n}\n', None),  # a document that only the launcher knows how to read
        ("a.txt", "one\ntwo\n", None),
    ],
)
def test_a_command_has_the_rows_of_a_json_list_counted_and_other_documents_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, rows: int | None
) -> None:
    (home / "inbox" / name).write_text(content)
    text = COMMAND.format(arguments="", command="examples_per_step = 16", data="").replace("{last_step}", "9")
    (home / "train.toml").write_text(text)

    audit(["plan", str(home / "train.toml"), "--format", "json"])

    found = json.loads(capsys.readouterr().out)
    assert ([item["file"] for item in found["files"]], found["set_aside"]) == ([name], [])
    assert found["files"][0]["examples"] == (None if rows is None else 3 * rows)
