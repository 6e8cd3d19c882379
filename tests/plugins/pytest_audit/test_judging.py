"""How a session judges: defaults, then the configuration of the audit, then the ini file, then the command line."""

from pathlib import Path

import pytest

from audit.findings import Severity
from pytest_audit.judging import Audit

pytest_plugins = ["pytester"]


def audit(pytester: pytest.Pytester, *options: str) -> Audit:
    return Audit(pytester.parseconfig(*options))


def test_nothing_is_recorded_in_the_run(pytester: pytest.Pytester) -> None:
    assert audit(pytester).options.ledger is False
    assert audit(pytester).options.depth == "full"


def test_the_configuration_of_the_audit_is_found_from_the_root_directory(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.pytest]\n[tool.audit]\ndepth = "quick"\nignore = ["security"]\njobs = 3\n')

    found = audit(pytester)

    assert (found.options.depth, found.options.ignore, found.options.jobs) == ("quick", ("security",), 3)


def test_the_ini_file_wins_over_the_configuration_and_the_command_line_over_both(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        '[tool.pytest]\naudit_depth = "full"\naudit_select = ["files", "loss"]\n[tool.audit]\ndepth = "quick"\nselect = ["steps"]\n'
    )

    assert (audit(pytester).options.depth, audit(pytester).options.select) == ("full", ("files", "loss"))
    assert audit(pytester, "--audit-depth=quick").options.depth == "quick"
    assert audit(pytester, "--audit-select=rotation, loss/jump").options.select == ("rotation", "loss/jump")


def test_what_is_ignored_adds_up(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.audit]\nignore = ["security"]\n')

    assert audit(pytester, "--audit-ignore=files", "--audit-ignore=loss").options.ignore == (
        "security",
        "files",
        "loss",
    )


@pytest.mark.parametrize(
    ("table", "options", "failing"),
    [
        ("", (), False),
        ('fail-on = "warning"', (), True),
        ('fail-on = "error"', ("--audit-warnings=fail",), True),
        ('fail-on = "warning"', ("--audit-warnings=warn",), False),
    ],
)
def test_whether_warnings_fail(pytester: pytest.Pytester, table: str, options: tuple[str, ...], failing: bool) -> None:
    pytester.path.joinpath("audit.toml").write_text(table)

    assert audit(pytester, *options).warnings_fail is failing


def test_a_configuration_file_may_be_named(pytester: pytest.Pytester) -> None:
    for name in ("one", "two"):
        pytester.mkdir(name).joinpath("audit.toml").write_text(
            f'[severity]\n"loss/jump" = "{"info" if name == "one" else "error"}"'
        )
    pytester.makeini("[pytest]\naudit_config = one/audit.toml\n")

    assert audit(pytester).options.severity == {"loss/jump": Severity.INFO}
    assert audit(pytester, "--audit-config", "two/audit.toml").options.severity == {"loss/jump": Severity.ERROR}


def test_an_id_or_a_name_with_no_such_rule_is_found_before_anything_is_read(
    pytester: pytest.Pytester, run: Path
) -> None:
    names = audit(pytester).checkpoints(str(run))

    assert names == ("checkpoint-100", "checkpoint-200")
