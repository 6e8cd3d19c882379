"""What a tracker is told is what the report says."""

from pathlib import Path

from audit.api import verify
from audit.backend.training import Judged
from audit.judging.judged import judged_of
from audit.testing.runs import make_run


def test_a_sound_run_has_no_worst_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), max_steps=200)
    assert judged_of(verify(run), 200) == Judged(200, "sound", 0, 0, 200)


def test_a_broken_one_names_the_worst_finding_and_where_to_resume_from(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), max_steps=200)
    Path(run, "checkpoint-200", "optimizer.pt").unlink()

    found = judged_of(verify(run), 200)

    assert (found.verdict, found.errors, found.resumable_step) == ("broken", 1, 100)
    assert found.worst.endswith("(files/missing-optimizer)")


def test_without_anything_to_resume_from_the_step_is_minus_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    Path(run, "checkpoint-100", "optimizer.pt").unlink()
    assert judged_of(verify(run), 100).resumable_step == -1
