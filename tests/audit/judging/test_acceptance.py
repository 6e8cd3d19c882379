"""What a person has accepted: the same finding, at the same place, for as long as it was said."""

from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.findings import Acceptance, Finding, Severity
from audit.judging.acceptance import accept, acceptance_of, in_vain
from audit.judging.guard import consult
from audit.ledger.events import Accepted
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.reporters import json
from audit.testing.runs import make_run
from audit.views.inspection import inspect
from tests.plugins.audit_rules.learning_rate.rates import fall, rated

RULE = "loss/jump"


def finding(**fields: Any) -> Finding:
    known = {"rule": RULE, "severity": Severity.ERROR, "checkpoint": "checkpoint-6", "file": None, "message": "",
             "expected": None, "actual": None, "remedy": "", "blocks_resume": False, "step": 2}  # fmt: skip
    return Finding(**{**known, **fields})


@pytest.mark.parametrize(
    ("fields", "row", "expected"),
    [
        ({}, {}, True),
        ({"checkpoint": "checkpoint-9"}, {}, True),  # the same place in the log
        ({"step": 3}, {}, False),
        ({"rule": "loss/spike"}, {}, False),
        ({"blocks_resume": True}, {}, False),
        ({"step": None}, {"step": None}, True),
        ({"step": None, "checkpoint": "checkpoint-9"}, {"step": None}, False),
        ({"step": None, "checkpoint": None}, {"step": None}, True),
        ({"step": 2}, {"step": None}, False),
        ({}, {"until": "2026-11-21"}, True),
        ({}, {"until": "2026-11-20"}, False),
    ],
)
def test_what_an_acceptance_covers(fields: dict[str, Any], row: dict[str, Any], expected: bool) -> None:
    one = Accepted(**{"rule": RULE, "checkpoint": "checkpoint-6", "step": 2, "reason": "x", **row})
    assert (acceptance_of(finding(**fields), [one], "2026-11-21") is one) == expected


@pytest.mark.parametrize(
    ("fields", "place", "expected"),
    [
        ({}, {"step": 2}, True),
        ({"checkpoint": "checkpoint-9"}, {"step": 2}, True),
        ({}, {"step": 6}, False),  # the log's place counts where there is one
        ({"step": None}, {"step": 6}, True),
        ({}, {"checkpoint": "checkpoint-6"}, True),
        ({}, {"checkpoint": "checkpoint-9"}, False),
        ({}, {}, False),
        ({"checkpoint": None, "step": None}, {}, True),
        ({"checkpoint": None, "step": None}, {"checkpoint": "checkpoint-6"}, False),
        ({"rule": "loss/spike"}, {"step": 2}, False),
        ({"blocks_resume": True}, {"step": 2}, False),
        ({}, {"step": 2, "until": "2026-11-21"}, True),
        ({}, {"step": 2, "until": "2026-11-20"}, False),
    ],
)
def test_what_an_entry_of_the_configuration_covers(
    fields: dict[str, Any], place: dict[str, Any], expected: bool
) -> None:
    entry = Acceptance(**{"rule": RULE, "checkpoint": None, "step": None, "reason": "meant", **place})

    (found,) = accept([finding(**fields)], [], [entry], "2026-11-21")

    assert found.accepted == ("meant" if expected else None)


def test_accepted_findings_come_last() -> None:
    one, two = finding(), finding(step=3)

    found = accept([one, two], [Accepted(RULE, "checkpoint-6", 2, "")], [], "2026-11-21")

    assert found == (two, one._replace(accepted="accepted"))


@pytest.mark.parametrize(
    ("fields", "place", "said"),
    [
        ({}, {"step": 2}, None),
        ({}, {"step": 2, "until": "2026-11-20"}, "step 2: expired on 2026-11-20, so the finding counts"),
        ({}, {"step": 9, "until": "2026-11-20"}, "step 9: expired on 2026-11-20"),
        (
            {"blocks_resume": True},
            {"checkpoint": "checkpoint-6"},
            "checkpoint-6: what blocks resuming cannot be accepted, so the finding counts",
        ),
        (
            {},
            {"step": 6},
            "step 6: nothing is found there, so the entry is not used; the rule has a finding at checkpoint-6, step 2",
        ),
        ({"rule": "loss/spike"}, {}, "the run as a whole: nothing is found there, so the entry is not used"),
    ],
)
def test_an_entry_that_accepts_nothing_is_named(fields: dict[str, Any], place: dict[str, Any], said: str) -> None:
    entry = Acceptance(**{"rule": RULE, "checkpoint": None, "step": None, "reason": "meant", **place})

    notes = list(in_vain([entry], [finding(**fields)], {RULE}, "2026-11-21"))

    assert notes == ([f"accept: {RULE} at {said}"] if said else [])
    if said and "not used" in said:
        assert list(in_vain([entry], [finding(**fields)], (), "2026-11-21")) == []


@pytest.fixture
def extended(tmp_path: Path) -> str:
    """A run whose cosine schedule was begun again."""
    return rated(tmp_path, fall() + fall(), lr_scheduler_type="cosine")


ROSE = Acceptance("learning-rate/rose-again", None, 110, "extended on purpose")


def test_every_answer_about_a_run_agrees_on_what_is_accepted(extended: str) -> None:
    rules = Options(select=("learning-rate",), settle_seconds=0.0)
    assert verify(extended, rules._replace(ledger=False)).verdict == "broken"
    options = rules._replace(accept=(ROSE,))

    report = verify(extended, options)

    assert (report.verdict, report.accepted, report.reaches(Severity.INFO)) == ("sound", 1, False)
    assert json.document(report)["summary"]["accepted"] == 1
    guarded = consult(extended, None, options)
    assert guarded.report.findings == report.findings
    assert guarded.decision.checkpoint == report.resume_from == "checkpoint-200"
    found = inspect(extended, options)
    assert found.report.findings == report.findings
    assert "1 accepted: learning-rate/rose-again" in found.standings["checkpoint-200"].reason
    unaccepted = inspect(extended, rules)
    assert "1 error: learning-rate/rose-again" in unaccepted.standings["checkpoint-200"].reason


def test_what_the_ledger_records_as_accepted_is_so_in_a_verification(extended: str) -> None:
    options = Options(select=("learning-rate",), settle_seconds=0.0)
    verify(extended, options)
    ledger = open_ledger(extended, write=True)
    assert ledger is not None
    ledger.append(Accepted(ROSE.rule, "checkpoint-200", ROSE.step, "as planned"))
    ledger.close()

    (found,) = verify(extended, options).findings

    assert found.accepted == "as planned"


def test_a_finding_that_blocks_is_never_hidden(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    entry = Acceptance("files/missing-optimizer", "checkpoint-300", None, "no matter")

    report = verify(run, Options(settle_seconds=0.0, ledger=False, accept=(entry,)))

    assert (report.verdict, report.accepted, report.resume_from) == ("broken", 0, "checkpoint-200")
    assert any("cannot be accepted" in note for note in report.notes)


def test_a_remembered_judgement_is_not_used_once_something_is_to_be_accepted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    options = Options(settle_seconds=0.0)
    verify(run, options)
    assert verify(run, options).notes == ()

    report = verify(run, options._replace(accept=(ROSE,)))

    assert any("not used" in note for note in report.notes)
