"""What is remembered of a checkpoint is used while it holds, and never makes a difference to the report."""

import ast
import inspect
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from audit.facts.checkpoint import BEYOND, Checkpoint
from audit.facts.run import open_run
from audit.findings import Severity, Violation
from audit.judging import engine
from audit.judging.auditor import Auditor
from audit.judging.outcome_parts import PARTS
from audit.judging.outcomes import KEY, Outcomes
from audit.judging.recording import record_start
from audit.judging.verification import verify_run
from audit.ledger.records import read_records
from audit.ledger.store import Ledger, open_ledger
from audit.manager import load
from audit.options import Options
from audit.reporters.json import document
from audit.retention.pins import pin
from audit.rules import rule
from audit.testing.runs import (
    edit_arguments,
    edit_json,
    edit_optimizer,
    edit_scheduler,
    edit_state,
    edit_tensors,
    make_run,
)
from audit.testing.torch_files import FakeTensor

REGISTRY = load()
SETTLED = Options(settle_seconds=0, allow_empty=True)
FILES = (
    "optimizer.pt",
    "adapter_model.safetensors",
    "scheduler.pt",
    "trainer_state.json",
    "README.md",
    "rng_state.pth",
)


def reported(run: Path, options: Options) -> Any:
    """The report on a run as it is, with what its ledger records; nothing is recorded."""
    records = read_records(str(run), write=False)[0]
    whole = document(Auditor(options, REGISTRY).judge(str(run), records).report)
    del whole["summary"]["seconds"], whole["summary"]["bytes_read"]
    return json.loads(json.dumps(whole))


def verified_anew(run: Path, options: Options) -> Any:
    """The report of a verification that records nothing; it may be a judgement of before."""
    whole = document(verify_run(str(run), options._replace(ledger=False), registry=REGISTRY).report)
    del whole["summary"]["seconds"], whole["summary"]["bytes_read"]
    return json.loads(json.dumps(whole))


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(rule, checkpoint) of every rule that is applied to a checkpoint from now on."""
    found: list[tuple[str, str]] = []
    real = engine._apply

    def counted(rule: Any, target: Any, options: Any) -> Any:
        if rule.scope == "checkpoint":
            found.append((rule.id, target.name))
        return real(rule, target, options)

    monkeypatch.setattr(engine, "_apply", counted)
    return found


def verified(run: Path, options: Options = SETTLED) -> None:
    verify_run(str(run), options, registry=REGISTRY)


def test_what_did_not_change_is_not_judged_again(tmp_path: Path, applied: list[tuple[str, str]]) -> None:
    run = Path(make_run(tmp_path / "run", range(100, 801, 100), max_steps=2000))
    verified(run)
    verified(run)  # now with the seals
    applied.clear()

    verified(run)

    assert applied == []


def test_a_checkpoint_that_was_touched_is_judged_once_more_and_not_again(
    tmp_path: Path, applied: list[tuple[str, str]]
) -> None:
    run = Path(make_run(tmp_path / "run"))
    verified(run)
    verified(run)
    os.utime(run / "checkpoint-300" / "optimizer.pt", (1e9, 1e9))
    verified(run)
    assert {checkpoint for _, checkpoint in applied} >= {"checkpoint-300"}
    applied.clear()

    verified(run)

    assert applied == []


@pytest.mark.parametrize("rotated", [True, False])
def test_after_a_save_the_work_is_that_of_one_checkpoint(
    tmp_path: Path, applied: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, rotated: bool
) -> None:
    counts = []
    written: list[str] = []
    remember = Ledger.remember

    def noted(self: Ledger, name: str, *rest: Any) -> None:
        written.append(name)
        remember(self, name, *rest)

    monkeypatch.setattr(Ledger, "remember", noted)
    for kept in (5, 20):
        run = Path(make_run(tmp_path / f"run-{kept}", range(100, 100 * kept + 201, 100), max_steps=9000))
        aside = Path(shutil.move(run / f"checkpoint-{100 * kept + 200}", tmp_path / f"aside-{kept}"))
        later = Path(shutil.move(run / f"checkpoint-{100 * kept + 100}", tmp_path / f"later-{kept}"))
        verified(run)
        shutil.move(later, run / f"checkpoint-{100 * kept + 100}")
        verified(run)
        if rotated:
            shutil.rmtree(run / "checkpoint-100")
        shutil.move(aside, run / f"checkpoint-{100 * kept + 200}")
        applied.clear()
        written.clear()
        verified(run)
        counts.append((len(applied), len(written)))

    assert counts[0] == counts[1]
    rules = sum(rule.scope == "checkpoint" for rule in REGISTRY.rules)
    assert counts[0][0] < 2 * rules
    assert counts[0][1] <= 4


def test_what_a_rule_says_that_asks_for_all_of_a_session_holds_until_there_is_one_more(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", (100, 200, 300)))
    later = Path(shutil.move(run / "checkpoint-300", tmp_path / "later"))

    @rule(Severity.INFO, id="custom/members", remedy="Nothing.")
    def members(checkpoint: Checkpoint) -> Iterator[Violation]:
        """How many checkpoints a session wrote."""
        yield Violation(f"{len(checkpoint.session.members)}")

    @rule(Severity.INFO, id="custom/directories", remedy="Nothing.")
    def directories(checkpoint: Checkpoint) -> Iterator[Violation]:
        """How many of them have an adapter."""
        yield Violation(f"{checkpoint.session.adapter_directories['']}")

    asked = {item.id: item for item in (members, directories)}

    def seen() -> dict[str, list[tuple[str, ...]]]:
        """By rule and checkpoint: what its outcome rests on."""
        opened = open_run(str(run), REGISTRY.backends)
        known = Outcomes(opened, "program", SETTLED)
        for checkpoint in opened.judged:
            for item in asked.values():
                engine._one(item, checkpoint, {}, known)
        return {
            item.name: [
                tuple(known._part(part) or "" for part in said.parts) for said in known._new[item.name].values()
            ]
            for item in opened.judged
        }

    before = seen()
    shutil.move(later, run / "checkpoint-300")
    after = seen()

    for name in ("checkpoint-100", "checkpoint-200"):
        for place in range(2):
            assert before[name][place] != after[name][place]


def test_without_the_cache_everything_is_judged(tmp_path: Path, applied: list[tuple[str, str]]) -> None:
    run = Path(make_run(tmp_path / "run"))
    verified(run)
    verified(run)
    applied.clear()

    verified(run, SETTLED._replace(cache=False))

    assert len(applied) == 3 * sum(rule.scope == "checkpoint" for rule in REGISTRY.rules)


def test_a_threshold_or_another_program_has_rules_judged_again(
    tmp_path: Path, applied: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(make_run(tmp_path / "run"))
    verified(run)
    verified(run)
    applied.clear()

    reported(run, SETTLED._replace(rules={"weights/outlier": {"limit": 2.0}}))
    assert applied == [("weights/outlier", f"checkpoint-{step}") for step in (100, 200, 300)]
    applied.clear()
    monkeypatch.setattr("audit.judging.auditor.program_of", lambda registry: "another")
    reported(run, SETTLED)
    assert len(applied) == 3 * sum(rule.scope == "checkpoint" for rule in REGISTRY.rules)


def test_an_outcome_that_was_put_into_the_ledger_by_hand_is_not_believed(
    tmp_path: Path, applied: list[tuple[str, str]]
) -> None:
    run = Path(make_run(tmp_path / "run"))
    verified(run)
    verified(run)
    sound = reported(run, SETTLED)
    ledger = sqlite3.connect(run / ".audit" / "ledger.db")
    changed = "replace(content, '\"not-applicable\"', '\"pass\"')"
    ledger.execute(f"UPDATE scans SET content = {changed} WHERE checkpoint = 'checkpoint-200' AND file = ?", (KEY,))
    ledger.commit()
    ledger.close()
    applied.clear()

    assert reported(run, SETTLED) == sound
    rules = sum(rule.scope == "checkpoint" for rule in REGISTRY.rules)
    assert sum(name == "checkpoint-200" for _, name in applied) == rules


GARBAGE: dict[str, Callable[..., Any]] = {
    "no line": lambda said, common, own: [],
    "no object": lambda said, common, own: [[], common, own],
    "parts": lambda said, common, own: [[dict.fromkeys(said[0]), *said[1:]], common, own],
    "numbers for parts": lambda said, common, own: [[[1] * len(said[0]), *said[1:]], common, own],
    "far away": lambda said, common, own: [[["+999" for _ in said[0]], *said[1:]], common, own],
    "no distance": lambda said, common, own: [[["+0", *("x" for _ in said[0][1:])], *said[1:]], common, own],
    "quiet": lambda said, common, own: [[said[0], [1, 2], said[2]], common, own],
    "places": lambda said, common, own: [[said[0], [[[99], ["a/b"]]], said[2]], common, own],
    "negative places": lambda said, common, own: [[said[0], [[[-1], ["a/b"]]], said[2]], common, own],
    "rules": lambda said, common, own: [[said[0], [[[0], [[2]]]], said[2]], common, own],
    "short": lambda said, common, own: [[*said[:2], {rule: ["", 0] for rule in said[2]}], common, own],
    "outcome": lambda said, common, own: [
        [*said[:2], {rule: [*item[:2], "maybe", *item[3:]] for rule, item in said[2].items()}], common, own,
    ],
    "violation": lambda said, common, own: [
        [*said[:2], {rule: [*item[:4], [[1, 2]]] for rule, item in said[2].items()}], common, own,
    ],
    "common": lambda said, common, own: [said, [1, [], 2], own],
    "arguments": lambda said, common, own: [said, [[1, [], 2], common[1]], own],
    "layout": lambda said, common, own: [said, [common[0], {}], own],
    "short layout": lambda said, common, own: [said, [common[0], []], own],
    "kind": lambda said, common, own: [said, [common[0], [1, *common[1][1:]]], own],
    "weights": lambda said, common, own: [said, [common[0], ["full", [1], *common[1][2:]]], own],
    "adapters": lambda said, common, own: [said, [common[0], [*common[1][:3], [[1]], *common[1][4:]]], own],
    "owed": lambda said, common, own: [said, [common[0], [*common[1][:-4], {"weights": 1}, *common[1][-3:]]], own],
    "digests": lambda said, common, own: [said, common, [own[0][1:], *own[1:]]],
    "numbers for digests": lambda said, common, own: [said, common, [[1] * len(own[0]), *own[1:]]],
    "files": lambda said, common, own: [said, common, [own[0], dict.fromkeys(own[1], 1), *own[2:]]],
    "another file": lambda said, common, own: [said, common, [own[0], {**own[1], "x": "0"}, *own[2:]]],
    "scans": lambda said, common, own: [said, common, [*own[:2], "0", *own[3:]]],
    "nothing known": lambda said, common, own: [said, common, [*own[:3], {}, own[4]]],
    "scheduler": lambda said, common, own: [said, common, [*own[:3], {**own[3], "scheduler": {}}, own[4]]],
    "state": lambda said, common, own: [said, common, [*own[:4], [1, 2]]],
    "raw": lambda said, common, own: [said, common, [*own[:4], own[4] and [*own[4][:5], [1, "", "z"], 1]]],
    "entries": lambda said, common, own: [said, common, [*own[:4], own[4] and [*own[4][:4], [1], *own[4][5:]]]],
}  # fmt: skip


@pytest.mark.parametrize("change", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_not_believed_and_does_no_harm(tmp_path: Path, change: Callable[..., Any]) -> None:
    run = Path(make_run(tmp_path / "run", (100, 200)))
    verified(run)
    verified(run)
    sound = reported(run, SETTLED)
    ledger = open_ledger(str(run), write=True)
    assert ledger is not None
    held: dict[str, dict[str, tuple[str, str]]] = {}
    for (checkpoint, file), (stamp, text) in ledger.scans().items():
        lines = change(*map(json.loads, text.split("\n"))) if file == KEY and checkpoint else ()
        forged = "\n".join(map(json.dumps, lines)) if file == KEY and checkpoint else text
        held.setdefault(checkpoint, {})[file] = (stamp, forged)
    for checkpoint, scans in held.items():
        ledger.remember(checkpoint, scans)
    ledger.close()

    assert reported(run, SETTLED) == sound


def found(report: Any, rule: str) -> list[str]:
    return [item["checkpoint"] for item in report["findings"] if item["rule"] == rule]


def test_what_the_first_checkpoint_reported_is_reported_by_the_next_when_that_is_gone(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run"))

    def back(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "epoch": entry["epoch"] / 2} if entry["step"] > 50 else entry for entry in log]

    for step in (100, 200, 300):
        edit_state(run / f"checkpoint-{step}", log_history=back)
    verified(run)
    verified(run)
    assert found(reported(run, SETTLED), "history/epoch-moved-back") == ["checkpoint-100"]

    shutil.rmtree(run / "checkpoint-100")

    assert found(reported(run, SETTLED), "history/epoch-moved-back") == ["checkpoint-200"]


def test_a_new_neighbour_is_compared_with(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", rank=16))

    def zeros(tensors: dict[str, FakeTensor]) -> None:
        name = next(name for name in tensors if ".lora_A." in name)
        tensors[name] = tensors[name]._replace(data=bytes(400) + tensors[name].data[400:])

    for step in (200, 300):
        edit_tensors(run / f"checkpoint-{step}" / "adapter_model.safetensors", zeros)
    later = shutil.move(run / "checkpoint-300", tmp_path / "checkpoint-300")
    verified(run)
    verified(run)
    assert found(reported(run, SETTLED), "weights/zero-run") == ["checkpoint-200"]

    shutil.move(later, run / "checkpoint-300")

    assert found(reported(run, SETTLED), "weights/zero-run") == []


# -- whatever happens to a run ----------------------------------------------------------------------------------------


def _touch(run: Path, checkpoint: Path, chance: random.Random) -> None:
    os.utime(checkpoint / chance.choice(FILES))


def _rewrite(run: Path, checkpoint: Path, chance: random.Random) -> None:
    path = checkpoint / chance.choice(FILES)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def _flip(run: Path, checkpoint: Path, chance: random.Random) -> None:
    path = checkpoint / chance.choice(FILES)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    if chance.random() < 0.5:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _cut(run: Path, checkpoint: Path, chance: random.Random) -> None:
    path = checkpoint / chance.choice(FILES)
    os.truncate(path, chance.randrange(path.stat().st_size))


def _delete_file(run: Path, checkpoint: Path, chance: random.Random) -> None:
    (checkpoint / chance.choice(FILES)).unlink()


def _add_file(run: Path, checkpoint: Path, chance: random.Random) -> None:
    name = chance.choice(["notes.txt", "scaler.pt", "other.safetensors", ".tmpabc"])
    (checkpoint / name).write_bytes(chance.randbytes(20))


def _copy_over(run: Path, checkpoint: Path, chance: random.Random) -> None:
    other = chance.choice(sorted(run.glob("checkpoint-*")))
    name = chance.choice(FILES)
    if other != checkpoint and (other / name).exists():
        shutil.copy(other / name, checkpoint / name)


def _delete(run: Path, checkpoint: Path, chance: random.Random) -> None:
    if len(list(run.glob("checkpoint-*"))) > 3:
        shutil.rmtree(checkpoint)


def _save(run: Path, checkpoint: Path, chance: random.Random) -> None:
    waiting = sorted(run.parent.glob("waiting/checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    if waiting:
        shutil.move(waiting[0], run / waiting[0].name)
        if chance.random() < 0.5:
            oldest = min(run.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
            shutil.rmtree(oldest)


def _edit(run: Path, checkpoint: Path, chance: random.Random) -> None:
    edits: list[Callable[[], None]] = [
        lambda: edit_state(checkpoint, max_steps=chance.choice([5000, 20000])),
        lambda: edit_state(checkpoint, global_step=chance.randrange(3000)),
        lambda: edit_state(checkpoint, log_history=lambda log: log[: len(log) // 2]),
        lambda: edit_arguments(checkpoint, fp16=chance.random() < 0.5),
        lambda: edit_arguments(checkpoint, save_total_limit=chance.choice([None, 2, 30])),
        lambda: edit_scheduler(checkpoint, last_epoch=chance.randrange(3000)),
        lambda: edit_optimizer(checkpoint, lambda state: state["param_groups"][0].update(weight_decay=chance.random())),
        lambda: edit_json(checkpoint / "adapter_config.json", lora_alpha=chance.randrange(1, 99)),
    ]
    chance.choice(edits)()


def _records(run: Path, checkpoint: Path, chance: random.Random) -> None:
    step = int(checkpoint.name.partition("-")[2])
    if chance.random() < 0.5:
        record_start(str(run), step)
    else:
        pin(str(run), checkpoint.name)


CHANGES = (
    _touch, _rewrite, _flip, _cut, _delete_file, _add_file, _copy_over, _delete, _save, _save, _save, _edit, _edit,
    _records,
)  # fmt: skip


def _healed(run: Path, checkpoint: Path, whole: Path) -> None:
    """Put a checkpoint back as it was written, so that not all are broken soon."""
    shutil.rmtree(checkpoint)
    shutil.copytree(whole / checkpoint.name, checkpoint)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 40))])
def test_the_report_is_the_same_as_from_scratch(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kind: dict[str, Any] = chance.choice([{}, {"best": True}, {"fp16": True}, {"full": True, "schedule": "cosine"}])
    whole = Path(make_run(tmp_path / "whole", range(100, 1601, 100), max_steps=2000, **kind))
    run = tmp_path / "run"
    shutil.copytree(whole, tmp_path / "waiting")
    run.mkdir()
    for step in range(100, 601, 100):
        shutil.move(tmp_path / "waiting" / f"checkpoint-{step}", run / f"checkpoint-{step}")
    verified(run)
    done = []
    for _ in range(24):
        change = chance.choice(CHANGES)
        checkpoint = chance.choice(sorted(run.glob("checkpoint-*")))
        done.append((change.__name__, checkpoint.name))
        with suppress(TypeError, ValueError, KeyError, OSError):  # damaged before
            change(run, checkpoint, chance)
        options = SETTLED if chance.random() < 0.8 else Options(allow_empty=True)
        scratch = reported(run, options._replace(cache=False))
        assert reported(run, options) == scratch, done
        assert verified_anew(run, options) == verified_anew(run, options._replace(cache=False)), done
        verified(run, options)
        if chance.random() < 0.5:
            done.append(("verified", ""))
            scratch = reported(run, options._replace(cache=False))
            assert reported(run, options) == scratch, done
            verified(run, options)
            assert verified_anew(run, options) == verified_anew(run, options._replace(cache=False)), done
        if checkpoint.exists() and chance.random() < 0.6:
            _healed(run, checkpoint, whole)
            done.append(("healed", checkpoint.name))


def test_a_fact_that_depends_on_more_than_its_checkpoint_is_known_for_it() -> None:
    """A new fact that asks its run for more needs a line in BEYOND, and what it depends on one in PARTS."""
    own = {
        "backend",
        "depth",
        "listing",
        "clock",
        "storage",
        "unlistable",
        "unsettled",
        "state_of",
        "scans_of",
        "allowance",
    }
    source = ast.parse(Path(inspect.getfile(Checkpoint)).read_text())
    (checkpoint,) = (item for item in source.body if isinstance(item, ast.ClassDef) and item.name == "Checkpoint")
    for function in (item for item in checkpoint.body if isinstance(item, ast.FunctionDef)):
        if [ast.unparse(item) for item in function.decorator_list] != ["fact"] or function.name in BEYOND:
            continue
        asked = {
            item.attr
            for item in ast.walk(function)
            if isinstance(item, ast.Attribute) and ast.unparse(item.value) == "self._run"
        }
        assert asked <= own, function.name
    assert set(BEYOND.values()) <= PARTS.keys()
