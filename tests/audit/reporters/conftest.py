"""One report with everything in it, shared by the tests of all formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Finding, Outcome, RuleOutcome, Severity, Violation
from audit.hookspecs import Context, Unaudited
from audit.report import CheckpointSummary, Report
from audit.rules import Rule, rule

HOSTILE = "x\n::set-output name=a::b\r%0A::error::c##[add-mask]d\x1b[2J\udcff\u202e,title=e:\x00<f>&\"'.pt"
"""A possible file name: lines, commands of CI services, escape sequences, markup, bytes that are no text."""

SPEECH = f"cannot read '{HOSTILE}': {{0}} [sound](https://evil.example) ]]></failure>\n::warning::g"
"""What a rule may say of it."""


@pytest.fixture
def report() -> Report:
    """A broken run: every severity and outcome, one checkpoint that is being written, one file with a hostile name."""
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
                "files/unreadable",
                Severity.ERROR,
                "checkpoint-200",
                HOSTILE,
                SPEECH,
                "a\x00b",
                None,
                "Restore it, 100%.",
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
            RuleOutcome("files/unreadable", "checkpoint-200", Outcome.FAIL),
            RuleOutcome("weights/outlier", None, Outcome.FAIL),
            RuleOutcome("loss/jump", None, Outcome.NOT_APPLICABLE, "not enough data"),
            RuleOutcome("acme/broken", None, Outcome.ERROR, "KeyError: 'x' (broken.py, line 3)"),
        ),
        depth="full",
        bytes_read=347_911,
        seconds=0.2134,
        notes=("not recorded: 'a\n::error::b' is read-only",),
    )


@rule(Severity.ERROR, id="files/missing-optimizer", blocks_resume=True, remedy="Resume from an older checkpoint.")
def _missing(checkpoint: Any) -> Iterator[Violation]:
    """The optimizer state is not there.

    ``Trainer`` 5.23 skips it {silently}.

    Not judged with ``save_only_model``.
    """
    yield from ()


@rule(Severity.WARNING, id="weights/outlier", remedy="Look at it.")
def _outlier(run: Any) -> Iterator[Violation]:
    """A weight is far outside."""
    yield from ()


@rule(Severity.INFO, id="other/idle", remedy="Nothing.")
def _idle(run: Any) -> Iterator[Violation]:
    """Installed, but it did not run."""
    yield from ()


@pytest.fixture
def context() -> Context:
    """What the command line hands over: three rules, of which one did not run, and a run that is not there."""
    rules: tuple[Rule, ...] = (_missing, _outlier, _idle)
    return Context(rules=rules, unaudited=(Unaudited("no\nwhere", "no\nwhere: no such run"),))


@pytest.fixture
def golden() -> Any:
    """``golden(name, text)`` compares with a file; where that is gone it writes it, for eyes to look at, and fails."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
            pytest.fail(f"{path} was not there and is written; look at it")
        assert text == path.read_bytes().decode()

    return compare
