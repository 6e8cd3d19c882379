"""Averages of squares below zero."""

from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.findings import Outcome
from audit.formats.optimizer import OptimizerState
from audit.formats.pickle_values import TensorRef
from audit.plugin import FileScan, Layout, NotApplicable, SpanScan
from audit.testing.judging import outcome, report
from audit.testing.runs import edit_optimizer, make_run
from audit_rules.optimizer.negative_moment import negative_moment

Value = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def only(run: str) -> Any:
    """The one finding of all rules on optimizer, scheduler, weights and adapter."""
    (finding,) = report(run, "optimizer", "scheduler", "weights", "adapter").findings
    return finding


def put(entry: Value, key: str, data: bytes, at: int = 0) -> None:
    tensor = entry[key]
    entry[key] = tensor._replace(data=tensor.data[:at] + data + tensor.data[at + len(data) :])


def test_a_second_moment_below_zero_is_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: put(value["state"][1], "exp_avg_sq", pack("<f", -1e-9), 8))
    finding = only(run)
    assert finding.rule == "optimizer/negative-moment"
    assert "1 of 8 second moments, first in exp_avg_sq of parameter 1" in finding.message
    assert finding.blocks_resume


@pytest.mark.parametrize(("key", "value"), [("exp_avg", -1e-9), ("exp_avg_sq", -0.0), ("exp_avg_sq", 0.0)])
def test_what_may_be_below_zero_or_is_zero_passes(run: str, key: str, value: float) -> None:
    edit_optimizer(place(run), lambda state: put(state["state"][1], key, pack("<f", value)))
    assert outcome(run, "optimizer/negative-moment", "checkpoint-300").outcome is Outcome.PASS


def test_what_shares_its_storage_with_something_else_is_not_judged() -> None:
    """All of it may be one flat tensor, and then a value below zero may be one of the other."""
    both = {key: TensorRef("F32", (2,), (1,), "0", at, 4) for at, key in ((0, "exp_avg"), (2, "exp_avg_sq"))}
    state = OptimizerState("adam", [{"params": [0]}], {0: both}, [], None)  # type: ignore[arg-type]
    span = SpanScan(False, True, False, 1.0, 0, 0, None, True)
    scan = {"o.pt": FileScan("", 9, 9, {"data/0": span}, None)}
    with pytest.raises(NotApplicable, match="keeps no averages of squares"):
        list(negative_moment.function(None, Layout("full", optimizer="o.pt"), state, scan))
