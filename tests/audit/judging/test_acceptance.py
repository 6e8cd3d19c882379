"""What a person has accepted: the same finding, at the same place, for as long as it was said."""

from typing import Any

import pytest

from audit.findings import Finding, Severity
from audit.judging.acceptance import acceptance_of
from audit.ledger.events import Accepted

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
