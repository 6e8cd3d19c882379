"""Which sessions judge runs, what else they collect, and what they leave alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.testing.runs import make_run
from tests.plugins.pytest_audit.conftest import Snapshot, ids

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.usefixtures("project")


def collected(pytester: pytest.Pytester, *options: str) -> tuple[bool, bool]:
    """Whether the session has items of the audit, and the test beside it."""
    found = ids(pytester.runpytest("--collect-only", "-q", *options))
    return any(item.startswith("current_model") for item in found), "test_own.py::test_own" in found


def test_without_a_path_the_audit_is_alone(pytester: pytest.Pytester, run: Path) -> None:
    assert collected(pytester, "--audit", "current_model") == (True, False)
    assert collected(pytester, "--audit=current_model") == (True, False)


def test_with_a_path_there_are_both(pytester: pytest.Pytester, run: Path) -> None:
    assert collected(pytester, "--audit", "current_model", "test_own.py") == (True, True)
    assert collected(pytester, "--audit", "current_model", ".") == (True, True)


def test_in_addopts_it_does_not_push_the_tests_aside(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makeini("[pytest]\naddopts = --audit current_model\n")

    assert collected(pytester) == (True, True)


def test_runs_of_the_ini_file_join_a_session_of_everything_only(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makeini("[pytest]\naudit_runs = current_model\n")

    assert collected(pytester) == (True, True)
    assert collected(pytester, "test_own.py") == (False, True)


def test_the_command_line_wins_over_the_ini_file(pytester: pytest.Pytester, run: Path) -> None:
    make_run(pytester.path / "other", (100,), layers=1)
    pytester.makeini("[pytest]\naudit_runs = current_model\n")

    assert {item.partition("/")[0].partition("::")[0] for item in ids(listed(pytester, "--audit", "other"))} == {
        "other"
    }


def listed(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest("--collect-only", "-q", *options)


def test_no_code_that_lies_in_a_run_is_imported(pytester: pytest.Pytester, run: Path) -> None:
    for place in (run, run / "checkpoint-100"):
        for name in ("conftest.py", "test_trap.py", "__init__.py"):
            (place / name).write_text("import os\nopen(os.environ['TRAP'], 'a').close()\n")
    trap = pytester.path / "sprung"
    pytester.makeini("[pytest]\naudit_runs = current_model\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAP", str(trap))
        own = collected(pytester)
        judged = pytester.runpytest("-q")
        named = pytester.runpytest("-q", "--audit", "current_model", ".")

    assert own == (True, True)
    assert judged.parseoutcomes()["passed"] > 100
    assert named.parseoutcomes()["passed"] > 100
    assert not trap.exists()


def test_a_run_that_is_the_root_directory_keeps_its_tests(pytester: pytest.Pytester) -> None:
    make_run(pytester.path, (100,), layers=1)

    found = ids(listed(pytester, "--audit", ".", "test_own.py"))

    assert "test_own.py::test_own" in found
    assert "checkpoint-100::files/missing-optimizer" in found
    assert ".::rotation/limit-exceeded" in found


def test_nothing_is_written_into_the_run(
    pytester: pytest.Pytester, broken: Path, snapshot: Callable[[Path], Snapshot]
) -> None:
    before = snapshot(broken)

    result = pytester.runpytest("--audit", "current_model", "--junitxml=found.xml", ".")

    assert result.parseoutcomes()["failed"] == 2
    assert snapshot(broken) == before


def test_the_cache_of_pytest_is_kept_out_of_checkpoints(
    pytester: pytest.Pytester, run: Path, monkeypatch: pytest.MonkeyPatch, snapshot: Callable[[Path], Snapshot]
) -> None:
    before = snapshot(run)
    monkeypatch.chdir(run / "checkpoint-100")

    refused = pytester.runpytest("--audit", ".", "--rootdir", ".")
    done = pytester.runpytest("--audit", ".", "--rootdir", ".", "-p", "no:cacheprovider")

    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: pytest's cache would be written into ../checkpoint-100; start pytest in *"])
    assert done.ret == 0
    assert snapshot(run) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--audit", "nowhere"], "*nowhere: no such run; *"),
        (["--audit", "test_own.py"], "*test_own.py: is not a directory; *"),
        (
            ["--audit", "current_model", "--audit-select", "fles"],
            "*no rule or family is named 'fles'; did you mean 'files'*",
        ),
        (["--audit", "current_model", "--audit-depth", "deep"], "*'deep' is neither quick nor full*"),
        (["--audit", "current_model", "--audit-warnings", "no"], "*'no' is neither fail nor warn*"),
        (["--audit", "current_model", "--audit-config", "no.toml"], "*no.toml: cannot be read: *"),
        (["--audit", "current_model", "--audit-select=files", "--audit-ignore=files"], "*nothing would be judged*"),
    ],
)
def test_what_cannot_be_judged_is_a_usage_error_in_one_line(
    pytester: pytest.Pytester, run: Path, options: list[str], said: str
) -> None:
    result = pytester.runpytest(*options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line]
    assert len(errors) == 1
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_help_does_not_ask_whether_the_run_is_there(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naudit_runs = nowhere\n")

    assert pytester.runpytest("--help").ret == 0
    assert pytester.runpytest().ret == pytest.ExitCode.USAGE_ERROR


def test_a_run_without_checkpoints_is_an_error_unless_that_is_expected(pytester: pytest.Pytester) -> None:
    pytester.mkdir("current_model")

    refused = pytester.runpytest("--audit", "current_model")
    done = pytester.runpytest("--audit", "current_model", "--audit-allow-empty", "-q")

    assert refused.ret == pytest.ExitCode.INTERRUPTED
    refused.stdout.fnmatch_lines(["*current_model: no checkpoint-N directory in it; *--audit-allow-empty"])
    assert "Traceback" not in refused.stdout.str()
    assert done.ret == 0


def test_the_header_names_what_is_judged(pytester: pytest.Pytester, run: Path) -> None:
    result = pytester.runpytest("--audit", "current_model", "--audit-depth=quick", "--audit-select=files", "--co")

    result.stdout.re_match_lines([r"audit: current_model \(depth quick, \d\d rules\)"])


def test_words_of_an_id_and_markers_choose_items(pytester: pytest.Pytester, run: Path) -> None:
    def chosen(*options: str) -> set[str]:
        return set(ids(listed(pytester, "--audit", "current_model", *options)))

    everything = chosen()

    assert chosen("-k", "checkpoint-100 and files/missing-optimizer") == {
        "current_model/checkpoint-100::files/missing-optimizer"
    }
    assert chosen("-m", "audit") == everything
    assert chosen("-m", "not audit", "test_own.py") == {"test_own.py::test_own"}
    assert chosen("--deselect", "current_model/checkpoint-100") == {
        item for item in everything if not item.startswith("current_model/checkpoint-100")
    }
    assert {item.rpartition("::")[2].partition("/")[0] for item in chosen("--audit-select", "files,loss")} == {
        "files",
        "loss",
    }
    assert not any("::files/" in item for item in chosen("--audit-ignore", "files"))


def test_what_pytest_prints_as_an_id_can_be_named(pytester: pytest.Pytester, broken: Path) -> None:
    name = "current_model/checkpoint-200::files/missing-optimizer"

    result = pytester.runpytest("--audit", name)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"FAILED {name} - *"])
    assert ids(listed(pytester, "--audit", "current_model::loss/jump")) == ["current_model::loss/jump"]


def test_an_id_that_does_not_exist_is_an_error(pytester: pytest.Pytester, run: Path) -> None:
    result = pytester.runpytest("--audit", "current_model/checkpoint-100::loss/jump")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["there is no item current_model/checkpoint-100::loss/jump"])


def test_ids_do_not_depend_on_where_pytest_is_started(
    pytester: pytest.Pytester, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\n")
    below = pytester.mkdir("below")
    here = ids(listed(pytester, "--audit", "current_model"))
    monkeypatch.chdir(below)

    assert ids(listed(pytester, "--audit", "../current_model")) == here
    assert here[-1].startswith("current_model/checkpoint-200::")
