"""What rehearsals find: each kind of damage is planted and run; and the table of the page is this table.

``pytest tests/backends/hf_trainer/test_rehearsal_damages.py --update-faults`` writes the table anew.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.rehearsal.comparison import judge
from tests.backends.hf_trainer.rehearsal_damages import (
    BEFORE,
    DAMAGES,
    DATA,
    NEVER,
    RESTORED,
    STEP,
    Damage,
    Home,
    changes,
    run_of,
)
from tests.backends.hf_trainer.rehearsed import copied, rehearsed
from tests.pages import replaced

PAGE = Path(__file__).parents[3] / "docs" / "rehearse.md"
BEGIN, END = "<!-- damages -->\n", "<!-- end of damages -->"
NAMES = ("rows_shuffled", "row_fewer", "data_seed", "skip", "labels", "tokens", "batch", "max_steps", "base", "rate",
         "outside")  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    where = tmp_path_factory.mktemp("damages")
    return Home(run_of(where / "shop", 42), run_of(where / "other", 43))


def rules(run: Path, where: Path) -> tuple[str, ...]:
    """What `audit verify` finds in the files alone: checkpoints without a ledger."""
    for path in run.glob("checkpoint-*"):
        shutil.copytree(path, where / path.name)
    return tuple(sorted({item.rule for item in audit.verify(str(where)).findings if item.severity.value != "info"}))


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *DAMAGES])
def test_each_damage_is_found_as_the_table_says(home: Home, name: str | None, tmp_path: Path) -> None:
    found = DAMAGES[name] if name is not None else Damage("none", lambda home: None)
    damaged = Home(copied(home.shop, tmp_path / "shop"), home.other)
    found.plant(damaged)
    assert rules(damaged.shop.run, tmp_path / "alone") == found.rules
    report = rehearsed(damaged.shop, STEP, record=False)
    differences = report.judgement.differences
    elsewhere = judge(report.rehearsal, report.logged, STEP, False).same
    if found.first == DATA:
        assert (report.exit_code, report.lacking) == (2, True)
    elif found.first == NEVER:
        assert found.faint or report.exit_code == 0, str(report)
    elif not found.faint:
        place = differences[0].step
        assert report.exit_code == 1
        assert place == (found.first if isinstance(found.first, int) else None)
        assert found.quantity in {item.quantity for item in differences if item.step == place}
    if found.first not in (DATA, NEVER):
        assert elsewhere != found.elsewhere, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_a_script_does_otherwise_is_found_as_the_table_says(
    own_run: str, name: str, own: Callable[[dict[str, Any]], Any]
) -> None:
    from audit_hf_trainer import rehearse

    change = changes()[name]
    report = rehearse(lambda: own(change.more()), own_run, 3, 2, exact=True)
    differences = report.judgement.differences
    if change.first == NEVER:
        assert report, str(report)
        return
    assert differences[0].step == change.first
    assert change.quantity in {item.quantity for item in differences if item.step == change.first}


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    from tests.backends.hf_trainer.fitting import fit, lora

    path = str(tmp_path_factory.mktemp("own") / "run")
    fit(path, lora(lora_dropout=0.1), max_steps=9, save_steps=3)
    return path


@pytest.fixture
def own(tmp_path: Path) -> Callable[[dict[str, Any]], Any]:
    """``own(more)``: the trainer of the run with ``more`` over it."""
    from tests.backends.hf_trainer.fitting import lora, made

    def make(more: dict[str, Any]) -> Any:
        fields = {"max_steps": 9, "save_steps": 3, "model": lora(lora_dropout=0.1), **more}
        return made(str(tmp_path / "elsewhere"), fields.pop("model"), **fields)

    return make


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    made = replaced(PAGE, BEGIN, END, tables())
    if request.config.getoption("--update-faults"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made, "run this test with --update-faults"


def tables() -> str:
    rows = [
        "| damage to `checkpoint-6` of 12 | `audit verify`, files alone | rehearsal | within tolerances |",
        "| --- | --- | --- | --- |",
        *(
            f"| {item.title} | {_rules(item)} | {_first(item.first, item.quantity, item.why)} | {_elsewhere(item)} |"
            for item in DAMAGES.values()
        ),
    ]
    known = changes()
    assert tuple(known) == NAMES
    own = [
        "| what the script does otherwise | `rehearse(..., checkpoint=3, steps=2)` |",
        "| --- | --- |",
        *(f"| {item.title} | {_first(item.first, item.quantity, item.why)} |" for item in known.values()),
    ]
    return "\n".join(rows) + "\n\n" + "\n".join(own) + "\n"


def _rules(item: Damage) -> str:
    if not item.rules:
        return "nothing"
    return ", ".join(f"[{rule}](rules/{rule.partition('/')[0]}.md#{rule.partition('/')[2]})" for rule in item.rules)


def _first(first: int | str, quantity: str, why: str) -> str:
    if first == NEVER:
        return f"the same: {why}"
    if first == DATA:
        return "cannot be rehearsed: the file is not the one in the ledger"
    if first == BEFORE:
        return f"before it begins: {quantity}, by the ledger"
    return f"restored: {quantity}" if first == RESTORED else f"**step {first}: {quantity}**"


def _elsewhere(item: Damage) -> str:
    if item.first in (NEVER, DATA):
        return ""
    return "found" if item.elsewhere else "not found"
