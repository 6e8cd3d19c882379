"""What a rehearsal says, to people and to programs."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from audit.backend.rehearsal import Arrival, Compared, Rehearsal, Replayed
from audit.rehearsal.comparison import judge
from audit.rehearsal.expected import Logged
from audit.rehearsal.report import RehearsalReport, document, lines

RESTORED = (Compared("weights", 4), Compared("random states", missed="there is no rng_state.pth"))
STEP = Replayed(6, 1.5, 0.5, 1e-3, (0, 1))
TOLD = Logged(6, 1.5, 0.5, 1e-3, True, (0, 1))


def report(found: Replayed | None = STEP, *, inexact: str | None = None, **more: Any) -> RehearsalReport:
    steps = (found,) if found is not None else ()
    told = (TOLD,) if found is not None else ()
    rehearsal = Rehearsal(RESTORED, steps, (Arrival(6, (Compared("weights", 4),)),), draws=True)
    judgement = judge(rehearsal, told, 5, inexact is None)
    made = RehearsalReport("run/checkpoint-5", 5, inexact is None, inexact, rehearsal, told, "checkpoint-9", judgement)
    return made._replace(**more)


def test_a_rehearsal_that_is_the_same() -> None:
    assert list(lines(report())) == [
        "run/checkpoint-5: restored and 1 step trained again, compared bit for bit",
        "  restored: weights (4): as in the files of the checkpoint",
        "  restored: random states: not compared: there is no rng_state.pth",
        "  steps 6 to 6: examples, learning rate, loss, gradient norm: as in the log of checkpoint-9 and the ledger",
        "  after step 6: weights (4): as in the files of the checkpoint",
        "run/checkpoint-5: same in 1 step",
    ]
    assert report().exit_code == 0


def test_a_rehearsal_that_differs_says_where_first_and_why() -> None:
    found = report(STEP._replace(grad_norm=0.75))
    assert list(lines(found, quiet=True)) == [
        "step 6: gradient norm: 0.75, expected 0.5 (relative difference 0.5)",
        "likely cause: the gradient, with the same loss: other parameters are trained, or another precision or kernel is used",
        "run/checkpoint-5: differs",
    ]
    assert (found.exit_code, found.first_difference) == (1, next(iter(lines(found, quiet=True))))


def test_within_tolerances_it_says_which_and_how_far() -> None:
    text = list(lines(report(STEP._replace(loss=1.5 * (1 + 1e-6)), inexact="torch 2.0 then, 2.1 now")))
    assert text[0].endswith(
        "steps within tolerances (float32: loss 1e-05, gradient norm 0.0001), because torch 2.0 then, 2.1 now"
    )
    assert "loss (differs by 1e-06 at most)" in text[3]
    assert text[-1] == "run/checkpoint-5: same in 1 step, within tolerances"


def test_equal_where_only_tolerances_are_asked_for_is_said() -> None:
    assert list(lines(report(inexact="x")))[-1] == "run/checkpoint-5: same in 1 step, bit for bit"


def test_steps_that_were_not_judged_are_named() -> None:
    found = report(None, unjudged="nothing was trained after it")
    assert list(lines(found))[-2:] == [
        "not judged: the steps after step 5: nothing was trained after it",
        "run/checkpoint-5: restored as saved, as far as it was compared; no step was judged",
    ]
    assert found.exit_code == 0


def test_steps_that_should_have_been_judged_are_exit_code_2_even_when_quiet() -> None:
    found = report(None, unjudged="a.jsonl is gone", lacking=True)
    assert list(lines(found, quiet=True)) == [
        "not judged: the steps after step 5: a.jsonl is gone",
        "run/checkpoint-5: restored as saved, as far as it was compared; the steps could not be judged",
    ]
    assert found.exit_code == 2


def test_fewer_steps_than_asked_for_are_said_even_when_quiet() -> None:
    assert list(lines(report(asked=5), quiet=True)) == ["run/checkpoint-5: same in 1 of the 5 steps asked for"]
    assert list(lines(report(asked=1), quiet=True)) == ["run/checkpoint-5: same in 1 step"]


def test_a_rehearsal_that_compared_nothing_is_no_success() -> None:
    sharded = (Compared("weights", missed="in pieces"),)
    for restored in ((), sharded):
        found = report(None, unjudged="none was asked for")
        found = found._replace(rehearsal=found.rehearsal._replace(restored=restored))
        assert list(lines(found, quiet=True)) == ["run/checkpoint-5: nothing was compared"]
        assert (found.exit_code, bool(found)) == (2, False)


@pytest.mark.parametrize(
    "found", [report(), report(None, unjudged="x"), report(STEP._replace(loss=9.0)), report(inexact="x")]
)
def test_the_document_is_as_the_schema_says(found: RehearsalReport) -> None:
    made = json.loads(json.dumps({"schema_version": 1, **document(found)}))
    schema = (files("audit") / "schemas" / "rehearse-1.json").read_text(encoding="utf-8")
    jsonschema.validate(made, json.loads(schema))
    assert made["same"] is found.same


def test_a_report_is_true_if_all_is_the_same_and_says_in_a_line_what_is_not() -> None:
    assert report()
    bad = report(STEP._replace(loss=9.0))
    assert not bad
    assert repr(bad).startswith("<RehearsalReport of run/checkpoint-5: differs: step 6: loss: 9.0, expected 1.5")
    assert not report(None, unjudged="gone", lacking=True)


def test_people_see_the_first_differences_alone() -> None:
    steps = tuple(Replayed(6 + number, 9.0) for number in range(9))
    rehearsal = Rehearsal(RESTORED, steps)
    told = tuple(Logged(6 + number, 1.0) for number in range(9))
    found = report()._replace(rehearsal=rehearsal, judgement=judge(rehearsal, told, 5, True))
    assert list(lines(found, quiet=True))[5:7] == [
        "step 11: loss: 9.0, expected 1.0 (relative difference 8)",
        "and 3 more",
    ]
