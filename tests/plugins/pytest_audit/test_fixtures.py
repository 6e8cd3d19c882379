"""The fixtures, as somebody's own tests use them."""

from pathlib import Path

import pytest

from audit.testing.runs import make_run

pytest_plugins = ["pytester"]


def test_the_report_of_the_sessions_run_is_shared_and_of_any_other_made_anew(
    pytester: pytest.Pytester, run: Path
) -> None:
    make_run(pytester.path / "other", (100,), layers=1)
    pytester.makepyfile(
        """
        import os

        def test_shared(audit_report):
            assert audit_report() is audit_report()
            assert audit_report().verdict == "sound"
            assert audit_report().resume_from == "checkpoint-200"

        def test_anew(audit_report):
            assert audit_report("other").verdict == "sound"
            os.unlink("other/checkpoint-100/optimizer.pt")
            assert audit_report("other").verdict == "broken"
            assert audit_report("other", ignore=["files"]).verdict == "sound"
            assert audit_report("other", depth="quick").depth == "quick"
            assert audit_report("other", select=["loss"]).outcomes
        """
    )

    pytester.runpytest("--audit", "current_model", "-m", "not audit", ".").assert_outcomes(passed=2)


def test_the_options_of_the_session_hold_for_the_reports(pytester: pytest.Pytester, broken: Path) -> None:
    pytester.makepyfile("def test_it(audit_report):\n    assert audit_report('current_model').verdict == 'sound'\n")

    pytester.runpytest("--audit-ignore", "files/missing-optimizer,files/missing-rng-state").assert_outcomes(passed=1)
    pytester.runpytest().assert_outcomes(failed=1)


def test_the_checkpoint_to_resume_from_is_handed_out(pytester: pytest.Pytester, broken: Path) -> None:
    pytester.makeini("[pytest]\naudit_runs = current_model\n")
    pytester.makepyfile(
        test_it=f"""
        import pathlib, pytest

        @pytest.fixture(scope="session")
        def model(resumable_checkpoint):
            return resumable_checkpoint

        def test_it(model):
            assert model == pathlib.Path({str(broken)!r}, "checkpoint-100")
        """
    )

    pytester.runpytest("test_it.py").assert_outcomes(passed=1)


def test_a_fixture_of_ones_own_names_another_run(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def audit_run():
            return "current_model"

        def test_it(resumable_checkpoint, audit_report):
            assert resumable_checkpoint.name == audit_report().resume_from == "checkpoint-200"
        """
    )

    pytester.runpytest().assert_outcomes(passed=1)


USES = "def test_it(resumable_checkpoint):\n    pass\n"


@pytest.mark.parametrize(
    ("ini", "said"),
    [
        ("", "no run is named: use --audit RUN or *"),
        ("audit_runs = nowhere", "*nowhere: no such run*"),
        ("audit_runs = current_model other", "several runs are named (current_model, other); override *"),
        ("audit_runs = lost", "*lost: No checkpoint can be resumed from."),
        ("audit_runs = current_model\naudit_select = fles", "*no rule or family is named 'fles'*"),
    ],
)
def test_what_the_fixture_cannot_give_is_said_in_one_line(
    pytester: pytest.Pytester, run: Path, ini: str, said: str
) -> None:
    make_run(pytester.path / "other", (100,), layers=1)
    make_run(pytester.path / "lost", (100,), layers=1)
    pytester.path.joinpath("lost", "checkpoint-100", "optimizer.pt").unlink()
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(test_it=USES)

    result = pytester.runpytest("test_it.py")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said.replace("[", "[[]")])
    assert "During handling" not in result.stdout.str()
    assert "fixtures.py" not in result.stdout.str()


def test_the_fixtures_are_documented(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--fixtures", "-q")

    result.stdout.fnmatch_lines_random(["audit_run *", "audit_report *", "resumable_checkpoint *"])
