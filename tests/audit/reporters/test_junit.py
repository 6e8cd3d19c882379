"""JUnit XML: fits the schema of Jenkins' plugin, is readable with any file name, and agrees with the exit code."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from audit.findings import Outcome, RuleOutcome, Severity
from audit.hookspecs import Context
from audit.report import Report
from audit.reporters.junit import render


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(Path(__file__).parent / "schemas" / "junit-10.xsd"))


def cases(text: str) -> dict[tuple[str, str], ET.Element]:
    root = ET.fromstring(text)
    return {(suite.get("name", ""), case.get("name", "")): case for suite in root for case in suite.iter("testcase")}


def became(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "pass")


def test_the_whole_document(
    report: Report, context: Context, schema: xmlschema.XMLSchema, golden: Callable[[str, str], None]
) -> None:
    text = render([report], context)

    schema.validate(text)
    golden("junit.xml", text)


def test_every_outcome_has_its_element(report: Report, context: Context) -> None:
    found = {key: became(case) for key, case in cases(render([report], context)).items()}

    assert found == {
        ("no\\nwhere", "audit"): "error",
        ("current_model", "acme/broken"): "error",
        ("current_model", "loss/jump"): "skipped",
        ("current_model", "weights/outlier"): "pass",
        ("current_model/checkpoint-100", "files/missing-optimizer"): "pass",
        ("current_model/checkpoint-200", "files/missing-optimizer"): "failure",
        ("current_model/checkpoint-200", "files/unreadable"): "failure",
        ("current_model/checkpoint-400", "files/incomplete-checkpoint"): "pass",
    }


@pytest.mark.parametrize(
    ("fail_on", "failures"), [(None, "0"), (Severity.ERROR, "2"), (Severity.WARNING, "3"), (Severity.INFO, "4")]
)
def test_what_fails_is_what_the_exit_code_counts(report: Report, fail_on: Severity | None, failures: str) -> None:
    text = render([report], Context(fail_on=fail_on))

    assert ET.fromstring(text).get("failures") == failures
    assert text.count("<failure ") == int(failures)
    assert "a weight is far outside" in text


def test_the_counts_are_those_of_the_cases(report: Report, context: Context) -> None:
    root = ET.fromstring(render([report, report], context))

    for element in (root, *root):
        found = [became(case) for case in element.iter("testcase")]
        counted = [element.get("tests"), element.get("failures"), element.get("errors")]
        assert counted == [str(len(found)), str(found.count("failure")), str(found.count("error"))]
    assert [suite.get("name") for suite in root].count("current_model/checkpoint-200") == 2


def test_a_hostile_name_is_text(report: Report, context: Context) -> None:
    case = cases(render([report], context))["current_model/checkpoint-200", "files/unreadable"]

    (failure,) = case
    assert "x\\n::set-output name=a::b\\r" in failure.get("message", "")
    assert "]]></failure>\\n::warning::g" in (failure.text or "")
    assert "\\x1b[2J\\udcff\\u202e" in (failure.text or "")


def test_no_finding_is_lost_where_no_outcome_speaks_of_its_checkpoint(report: Report) -> None:
    gone = report.findings[0]._replace(checkpoint="checkpoint-7")

    text = render([report._replace(findings=(gone,), outcomes=())])

    assert became(cases(text)["current_model", "files/missing-optimizer"]) == "failure"


def test_a_failure_whose_finding_names_another_checkpoint_is_counted_once(report: Report) -> None:
    outcome = RuleOutcome("files/missing-optimizer", "checkpoint-100", Outcome.FAIL)

    root = ET.fromstring(render([report._replace(findings=report.findings[:1], outcomes=(outcome,))]))

    assert root.get("failures") == "1"


def test_an_empty_run_fits_the_schema(report: Report, schema: xmlschema.XMLSchema) -> None:
    empty = report._replace(checkpoints=(), findings=(), outcomes=(), resume_from=None, latest_step=None)

    schema.validate(render([empty]))


def test_the_schema_refuses_what_is_wrong(report: Report, schema: xmlschema.XMLSchema) -> None:
    with pytest.raises(xmlschema.XMLSchemaException):
        schema.validate(render([report]).replace("<properties>", "<properties><oops/>", 1))


def test_an_accepted_finding_passes_with_its_reason(report: Report) -> None:
    error = next(item for item in report.findings if item.rule == "files/missing-optimizer")
    accepted = error._replace(blocks_resume=False, accepted="meant <so>")

    text = render([report._replace(findings=(accepted,))], Context(fail_on=Severity.INFO))

    assert "<failure" not in text
    assert "accepted  checkpoint-200/optimizer.pt\noptimizer.pt is not there\n-&gt; accepted: meant &lt;so&gt;" in text
