"""JSON of every command: one document on stdout that its schema describes to the last field, whatever the end."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.cli import COMMANDS
from audit.cli.documents import SCHEMA_VERSION, write_document
from audit.cli.parser import build
from audit.retention.lock import RunLock
from audit.testing.runs import edit_state, make_run
from tests.audit.cli.conftest import Ended, one_line
from tests.audit.cli.test_history import three_batches

Audit = Callable[..., Ended]
OTHER_NAMES = {"verify": "report"}
"""Commands whose schema has another name than theirs."""
CONFIGURATIONS = {"config", "train"}


def schema_of(command: str) -> Any:
    name = f"{OTHER_NAMES.get(command, command)}-{SCHEMA_VERSION}.json"
    return json.loads((files("audit") / "schemas" / name).read_text(encoding="utf-8"))


def document(audit: Audit, code: int, command: str, *arguments: str) -> Any:
    """Run a command with ``--format json`` and return its document, which fits the schema."""
    ended = audit(command, *arguments, "--format", "json")
    assert ended.code == code
    found = json.loads(ended.out)
    jsonschema.validate(found, schema_of(command))
    assert next(iter(found)) == "schema_version"
    return found


def with_json() -> list[str]:
    """Commands whose option ``--format`` takes ``json``."""
    parsers = next(action for action in build(COMMANDS, COMMANDS)._actions if action.dest == "command").choices
    assert parsers is not None
    found = []
    for name, parser in dict(parsers).items():
        format_ = next((action for action in parser._actions if action.dest == "format"), None)
        if name == "verify" or (format_ is not None and "json" in (format_.choices or ())):
            found.append(name)
    return found


def test_every_command_that_prints_something_for_a_script_prints_json_and_has_a_schema() -> None:
    schemas = {path.name.rpartition("-")[0] for path in (files("audit") / "schemas").iterdir() if "-" in path.name}
    assert {OTHER_NAMES.get(name, name) for name in with_json()} == schemas - {"event"}  # one a line, of audit train
    # A page, a training with events of its own, and what is for people: a file to edit, a demonstration.
    assert set(COMMANDS) - set(with_json()) == {"report", "train", "init", "demo"}


@pytest.mark.parametrize("command", with_json())
def test_a_schema_is_one_and_closed(command: str) -> None:
    schema = schema_of(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    name = OTHER_NAMES.get(command, command)
    assert schema["$id"] == f"urn:checkpoint-audit:{name}:1"
    assert schema["title"] == f"checkpoint-audit {name}, version 1"
    assert [place for place, part in _objects(schema, "") if "additionalProperties" not in part] == []


def _objects(part: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every part of a schema that lists the fields of an object, with its place."""
    if isinstance(part, dict):
        if part.get("type") == "object" and "properties" in part:
            yield place, part
        for name, value in part.items():
            yield from _objects(value, f"{place}/{name}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _objects(value, f"{place}/{number}")


def test_what_looks_at_a_run(audit: Audit, broken: str) -> None:
    listed = document(audit, 0, "list", broken)
    assert listed["run"] == broken
    assert [item["state"] for item in listed["checkpoints"]] == ["resumable", "resumable", "broken"]
    shown = document(audit, 0, "show", f"{broken}/checkpoint-200")
    assert shown["path"] == f"{broken}/checkpoint-200"
    assert shown["checkpoint"] == listed["checkpoints"][1]
    assert shown["sections"]["trainer state"]["global_step"] == 200
    assert shown["files"]["trainer_state.json"] > 0
    exported = document(audit, 0, "export", broken)
    assert [item["name"] for item in exported["checkpoints"]] == exported["lineages"][0]["checkpoints"]
    assert document(audit, 1, "diff", f"{broken}/checkpoint-100", f"{broken}/checkpoint-200")["tensors"]["different"]
    assert document(audit, 0, "diff", f"{broken}/checkpoint-100", f"{broken}/checkpoint-100")["same"]
    assert document(audit, 1, "verify", broken)["verdict"] == "broken"
    assert document(audit, 0, "history", three_batches(broken))["batches"]


def test_a_checkpoint_of_which_nothing_is_known_fits_too(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").write_text("{")
    edit_state(f"{run}/checkpoint-200", epoch=float("nan"))

    rows = document(audit, 0, "list", run)["checkpoints"]

    assert rows[2]["global_step"] is None
    assert rows[1]["epoch"] == "nan"
    document(audit, 0, "show", f"{run}/checkpoint-300")
    document(audit, 0, "export", run)
    Path(run, "checkpoint-300", "adapter_model.safetensors").write_bytes(b"short")
    assert document(audit, 2, "diff", f"{run}/checkpoint-100", f"{run}/checkpoint-300")["troubles"]


def test_best_has_a_document_whether_there_is_a_value_or_not(audit: Audit, tmp_path: Path) -> None:
    run = make_run(tmp_path / "best", best=True)
    assert document(audit, 0, "best", run)["path"]
    alone = make_run(tmp_path / "alone", (100,))
    edit_state(f"{alone}/checkpoint-100", log_history=[{"step": 100, "loss": float("nan")}])
    found = document(audit, 1, "best", alone, "--metric", "loss")
    assert (found["path"], found["best"], found["candidates"]) == (None, None, [])


def test_rules_and_explain_say_the_same_of_a_rule(audit: Audit) -> None:
    rules = {rule["id"]: rule for rule in document(audit, 0, "rules")["rules"]}
    assert document(audit, 0, "explain", "loss/jump")["rule"] == rules["loss/jump"]
    assert {rule["family"] for rule in document(audit, 0, "rules", "loss")["rules"]} == {"loss"}


def test_backends_say_what_each_can_do(audit: Audit) -> None:
    backends = {item["name"]: item for item in document(audit, 0, "backends")["backends"]}
    assert (backends["hf-trainer"]["reads"], backends["hf-trainer"]["trains"]) == (True, True)
    assert not backends["command"]["reads"]


def test_a_guard_that_refuses_says_so_in_its_document(audit: Audit, broken: str) -> None:
    assert document(audit, 0, "guard", broken)["path"] == f"{broken}/checkpoint-200"
    assert document(audit, 1, "guard", broken, "--strict")["decision"] == "refused"


def test_prune_names_what_it_would_remove_what_it_removed_and_why_it_refuses(audit: Audit, run: str) -> None:
    dry = document(audit, 0, "prune", run, "--keep", "1", "--dry-run")
    assert ([item["checkpoint"] for item in dry["removed"]], dry["dry_run"]) == (
        ["checkpoint-100", "checkpoint-200"],
        True,
    )
    with RunLock(run, "trained"):
        refused = document(audit, 1, "prune", run, "--keep", "1")
    assert "is being trained" in refused["refusal"]
    assert refused["removed"] == refused["kept"] == []
    done = document(audit, 0, "prune", run, "--keep", "1")
    assert (done["removed"], done["refusal"]) == (dry["removed"], None)
    assert not Path(run, "checkpoint-100").exists()


def test_a_snapshot_names_the_copy_or_why_there_is_none(audit: Audit, run: str, tmp_path: Path) -> None:
    made = document(audit, 0, "snapshot", run, str(tmp_path / "s"))["snapshot"]
    assert (Path(made["path"]).is_dir(), made["made"]) == (True, True)
    assert not document(audit, 0, "snapshot", run, str(tmp_path / "s"))["snapshot"]["made"]
    refused = document(audit, 1, "snapshot", run, run)
    assert (refused["snapshot"], "the run itself" in refused["refusal"]) == (None, True)


def test_the_quarantine_names_what_is_moved_held_and_refused(audit: Audit, broken: str) -> None:
    dry = document(audit, 0, "quarantine", broken, "--dry-run")
    assert [(item["name"], item["place"]) for item in dry["checkpoints"]] == [("checkpoint-300", None)]
    refused = document(audit, 1, "quarantine", broken, "checkpoint-200")
    assert [item["checkpoint"] for item in refused["refused"]] == ["checkpoint-200"]
    moved = document(audit, 0, "quarantine", broken)
    assert [item["place"] for item in moved["checkpoints"]] == ["checkpoint-300"]
    held = document(audit, 0, "quarantine", broken, "--list")["checkpoints"]
    assert held[0]["time"].endswith("Z")
    assert document(audit, 0, "quarantine", broken, "--restore")["action"] == "restore"
    assert document(audit, 0, "quarantine", broken, "--list")["checkpoints"] == []


def test_what_was_moved_before_an_error_is_in_the_document(
    audit: Audit, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.retention import quarantine

    Path(broken, "checkpoint-200", "optimizer.pt").unlink()
    rename = quarantine._rename

    def full(source: str, target: str) -> None:
        if source.endswith("checkpoint-200"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(quarantine, "_rename", full)
    found = document(audit, 2, "quarantine", broken)
    assert [item["name"] for item in found["checkpoints"]] == ["checkpoint-300"]


def test_seal_names_the_files_and_what_is_not_sealed(audit: Audit, run: str) -> None:
    found = document(audit, 0, "seal", run)
    assert all(Path(item["checksums"]).is_file() for item in found["checkpoints"])
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    rows = document(audit, 1, "seal", run, "--algorithm", "sha256")["checkpoints"]
    assert [item["sealed"] for item in rows] == [True, True, False]


@pytest.mark.parametrize("command", sorted({*with_json()} - {"rules", "explain", "backends", "data", "plan"}))
def test_what_cannot_be_done_is_one_line_on_stderr_and_no_document(audit: Audit, tmp_path: Path, command: str) -> None:
    own = {"prune": ["--keep", "1"], "diff": [str(tmp_path)], "snapshot": [str(tmp_path / "s")], "merge": ["out"]}
    more = own.get(command, [])
    assert "nowhere" in one_line(audit(command, str(tmp_path / "nowhere"), *more, "--format", "json"))


@pytest.mark.parametrize("command", ["rules", "explain", "data", "plan"])
def test_a_name_that_is_not_there_is_no_document_either(audit: Audit, command: str) -> None:
    assert "nowhere" in one_line(audit(command, "nowhere", "--format", "json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "RUN", "--keep", "1"),
        ("seal", "RUN"),
        ("quarantine", "RUN"),
        ("snapshot", "RUN", "S"),
        ("guard", "RUN"),
    ],
)
def test_quiet_is_for_people_and_takes_no_document_away(
    audit: Audit, run: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    names = {"RUN": run, "S": str(tmp_path / "s")}
    assert document(audit, 0, *(names.get(word, word) for word in arguments), "-q")["schema_version"] == 1


def test_values_of_files_are_made_json_unless_the_text_has_to_be_whole(capsys: pytest.CaptureFixture[str]) -> None:
    write_document({"value": float("nan"), "text": "a" * 20_000})
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["value"], len(found["text"]) < 11_000) == (1, "nan", True)
    write_document({"text": "a" * 20_000}, as_is=True)
    assert len(json.loads(capsys.readouterr().out)["text"]) == 20_000
