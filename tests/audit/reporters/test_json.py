"""The JSON report is the contract: its schema is shipped, and every report fits it."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from audit.hookspecs import Context, Unaudited
from audit.report import Report
from audit.reporters.json import render


@pytest.fixture
def schema() -> dict[str, Any]:
    return json.loads((files("audit") / "schemas" / "report-1.json").read_text(encoding="utf-8"))


def test_the_schema_itself_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_one_report_fits_the_schema_and_says_what_the_values_say(report: Report, schema: dict[str, Any]) -> None:
    document = json.loads(render([report]))

    jsonschema.validate(document, schema)
    assert document["verdict"] == "broken"
    assert document["resume_from"] == "checkpoint-100"
    assert [document["summary"][name] for name in ("errors", "warnings", "infos")] == [2, 1, 1]
    assert document["findings"][0]["blocks_resume"] is True
    assert [item["outcome"] for item in document["outcomes"]] == [
        "pass",
        "fail",
        "fail",
        "fail",
        "not-applicable",
        "error",
    ]


def test_several_reports_are_a_list_of_runs(report: Report, schema: dict[str, Any]) -> None:
    document = json.loads(render([report, report]))

    jsonschema.validate(document, schema)
    assert [run["verdict"] for run in document["runs"]] == ["broken", "broken"]


def test_where_several_were_asked_for_the_one_that_could_be_audited_is_still_in_a_list(
    report: Report, schema: dict[str, Any]
) -> None:
    document = json.loads(render([report], Context(unaudited=(Unaudited("nowhere", "no such run"),))))

    jsonschema.validate(document, schema)
    assert [run["run"]["path"] for run in document["runs"]] == ["current_model"]


def test_numbers_that_json_does_not_know_and_names_that_are_no_text_survive(
    report: Report, schema: dict[str, Any]
) -> None:
    strange = report._replace(path="run\udcff")

    document = json.loads(render([strange]))

    jsonschema.validate(document, schema)
    assert document["run"]["path"] == "run\\udcff"
    assert document["findings"][2]["actual"] == "inf"
    assert "\\udcff" in document["findings"][1]["file"]


def test_a_report_with_an_unknown_field_does_not_fit(report: Report, schema: dict[str, Any]) -> None:
    document = json.loads(render([report]))
    document["extra"] = 1

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
