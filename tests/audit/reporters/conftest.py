"""One report with everything in it, shared by the tests of all formats."""

import pytest

from audit.findings import Finding, Outcome, RuleOutcome, Severity
from audit.report import CheckpointSummary, Report


@pytest.fixture
def report() -> Report:
    """A broken run with every severity, every outcome and a checkpoint that is still being written."""
    return Report(
        path="current_model",
        backend="hf-trainer",
        latest_step=400,
        save_total_limit=3,
        resume_from="checkpoint-100",
        checkpoints=(
            CheckpointSummary("checkpoint-100", 100, True, False, 9, 123_456),
            CheckpointSummary("checkpoint-200", 200, False, False, 8, 100_000),
            CheckpointSummary("checkpoint-300", 300, True, False, 9, 123_456),
            CheckpointSummary("checkpoint-400", 400, False, False, 2, 999),
        ),
        findings=(
            Finding(
                "files/missing-optimizer",
                Severity.ERROR,
                "checkpoint-200",
                "optimizer.pt",
                "optimizer.pt is not there",
                None,
                None,
                "Resume from an older checkpoint.",
                True,
            ),
            Finding(
                "weights/outlier",
                Severity.WARNING,
                "checkpoint-300",
                "adapter_model.safetensors",
                "a weight is far outside",
                1000.0,
                float("inf"),
                "Look at it.",
                False,
            ),
            Finding(
                "files/incomplete-checkpoint",
                Severity.INFO,
                "checkpoint-400",
                None,
                "is being written right now",
                None,
                None,
                "Wait.",
                True,
            ),
        ),
        outcomes=(
            RuleOutcome("files/missing-optimizer", "checkpoint-100", Outcome.PASS),
            RuleOutcome("files/missing-optimizer", "checkpoint-200", Outcome.FAIL),
            RuleOutcome("loss/jump", None, Outcome.NOT_APPLICABLE, "not enough data"),
            RuleOutcome("acme/broken", None, Outcome.ERROR, "KeyError: 'x' (broken.py, line 3)"),
        ),
        depth="full",
        bytes_read=347_911,
        seconds=0.2134,
    )
