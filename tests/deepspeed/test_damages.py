"""The page on DeepSpeed says what the audit makes of each damage: shown here with made trees, without DeepSpeed."""

from pathlib import Path

import pytest

from tests.deepspeed.damages import DAMAGES, Damage
from tests.deepspeed.judging import Verdict, damaged
from tests.deepspeed.page import PAGE, STAGES, page, written
from tests.zero import make_zero

CASES = [(stage, damage) for stage in STAGES for damage in DAMAGES if stage in damage.stages]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {stage: make_zero(tmp_path_factory.mktemp("made") / f"zero-{stage}", stage=stage) for stage in STAGES}


@pytest.mark.parametrize(("stage", "damage"), CASES, ids=[f"{stage}-{damage.title}" for stage, damage in CASES])
def test_each_damage_is_judged_as_the_page_says(
    stage: int, damage: Damage, made: dict[int, Path], tmp_path: Path
) -> None:
    row = written()[stage, damage.title]

    _, verdict = damaged(damage, made[stage], tmp_path / "run")

    assert verdict == Verdict(row.rules, row.refused)


def test_every_damage_is_in_the_page() -> None:
    rows = written()

    assert list(rows) == [(stage, damage.title) for stage, damage in CASES]
    assert PAGE.read_text(encoding="utf-8") == page(rows)


def test_what_deepspeed_does_not_load_as_it_was_is_refused() -> None:
    harmful = {key for key, row in written().items() if row.deepspeed in ("crashes", "silent")}
    accepted = {key for key, row in written().items() if not row.refused}
    # Settings that all ranks agree in: what is wrong about them is said, as it is of optimizer.pt.
    said = {"another learning rate on all ranks", "another weight decay on all ranks"}

    assert harmful & accepted == {(stage, title) for stage in STAGES for title in said}
    assert all(written()[key].rules for key in harmful & accepted)


def test_what_deepspeed_loads_as_it_was_is_handed_out() -> None:
    """But for a file that says it is of another run."""
    rows = written()

    refused = {title for (_, title), row in rows.items() if row.deepspeed == "the same" and row.refused}

    assert refused == {"partition_count of another run"}


def test_deepspeed_was_asked_about_every_damage() -> None:
    assert {row.deepspeed for row in written().values()} == {"crashes", "silent", "the same"}
