"""The state of an older checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from audit.findings import Outcome, Violation
from audit.formats.optimizer import OptimizerState
from audit.plugin import FileScan, Layout, NotApplicable
from audit.testing.judging import check, outcome, report
from audit.testing.runs import make_run
from audit_rules.optimizer.unchanged import unchanged


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def test_a_copied_optimizer_is_one_finding_that_names_its_source(run: str) -> None:
    shutil.copyfile(place(run, 100) / "optimizer.pt", place(run, 300) / "optimizer.pt")
    (finding,) = report(run, "optimizer").findings
    assert finding.rule == "optimizer/unchanged"
    assert "checkpoint-100, 200 steps earlier" in finding.message
    assert finding.blocks_resume


def test_it_blocks_by_itself_whatever_it_explains(run: str) -> None:
    shutil.copyfile(place(run, 100) / "optimizer.pt", place(run, 300) / "optimizer.pt")
    (finding,) = check(run, "optimizer/unchanged")
    assert (finding.checkpoint, finding.blocks_resume) == ("checkpoint-300", True)


def test_a_state_of_its_own_passes_and_the_first_has_none_to_be_compared_with(run: str) -> None:
    assert outcome(run, "optimizer/unchanged", "checkpoint-300").outcome is Outcome.PASS
    first = outcome(run, "optimizer/unchanged", "checkpoint-100")
    assert (first.outcome, first.reason) == (Outcome.NOT_APPLICABLE, "no older optimizer state was read")


def test_at_quick_depth_the_count_tells_what_the_digest_cannot(run: str) -> None:
    shutil.copyfile(place(run, 100) / "optimizer.pt", place(run, 300) / "optimizer.pt")
    (finding,) = report(run, "optimizer", depth="quick").findings
    assert finding.rule == "optimizer/step-mismatch"


@pytest.mark.parametrize(("fp16", "weights", "found"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_a_step_that_the_fp16_scaler_skipped_leaves_optimizer_and_weights_as_they_were(
    tmp_path: Path, fp16: bool, weights: bool, found: int
) -> None:
    run = make_run(tmp_path / "run", (100, 101), max_steps=200, fp16=fp16)
    for name in ("optimizer.pt", "adapter_model.safetensors")[: 2 if weights else 1]:
        shutil.copyfile(place(run, 100) / name, place(run, 101) / name)
    assert len(check(run, "optimizer/unchanged")) == found


SCAN = {"optimizer.pt": FileScan("0" * 64, 9, 9, {}, None)}


def asked(
    layout: Layout,
    scan: Mapping[str, FileScan],
    older_step: int = 100,
    older_scan: Mapping[str, FileScan] = SCAN,
    updates: int = 100,
) -> list[Violation]:
    """What the rule says of step 200 if no older checkpoint has the same bytes."""
    older = SimpleNamespace(
        step=older_step, neighbours=(None, None), optional={"scan": older_scan, "updates": updates}.get
    )
    checkpoint = SimpleNamespace(step=200, neighbours=(older, None), with_same_bytes=lambda *_, **__: [])
    state = OptimizerState("adam", [{"params": [0]}], {0: {"step": 1}}, [1.0], None)  # type: ignore[arg-type]
    return list(unchanged.function(checkpoint, layout, state, scan))


def test_a_state_that_was_not_read_as_one_file_is_not_judged() -> None:
    for layout, scan in ((Layout("fsdp", sharded_optimizer=("o/0",)), SCAN), (Layout("full", optimizer="other"), SCAN)):
        with pytest.raises(NotApplicable, match="could not be read completely"):
            asked(layout, scan)


def test_a_second_checkpoint_of_the_same_step_is_no_older_one() -> None:
    layout = Layout("full", optimizer="optimizer.pt")

    assert asked(layout, SCAN, older_step=199) == []
    with pytest.raises(NotApplicable, match="no older optimizer state was read"):
        asked(layout, SCAN, older_step=200)


@pytest.mark.parametrize(("scan", "updates"), [({}, 100), (SCAN, 101)])
def test_an_older_state_that_was_not_read_or_overwritten_is_none_to_compare_with(
    scan: Mapping[str, FileScan], updates: int
) -> None:
    with pytest.raises(NotApplicable, match="no older optimizer state was read"):
        asked(Layout("full", optimizer="optimizer.pt"), SCAN, older_scan=scan, updates=updates)
