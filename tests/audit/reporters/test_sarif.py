"""SARIF: fits the schema of OASIS, says what the rules are, and is the same tomorrow and on another machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import jsonschema
import pytest

from audit.findings import Finding, Severity
from audit.hookspecs import Context
from audit.manager import load
from audit.report import Report
from audit.reporters.sarif import render
from audit.version import __version__

SCHEMA = Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json"


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.fixture
def run(report: Report, context: Context) -> dict[str, Any]:
    """The run of SARIF for the shared report."""
    found: dict[str, Any] = json.loads(render([report], context))["runs"][0]
    return found


def uri(result: dict[str, Any]) -> str:
    text: str = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    return text


def test_the_whole_log(report: Report, context: Context, validator: Any, golden: Callable[[str, str], None]) -> None:
    text = render([report], context)

    validator.validate(json.loads(text))
    golden("sarif.json", text.replace(f'"{__version__}"', '"VERSION"'))


def test_the_log_of_all_real_rules_fits_the_schema(report: Report, validator: Any) -> None:
    rules = load().rules
    outcomes = tuple(report.outcomes[0]._replace(rule=rule.id) for rule in rules)

    log = json.loads(render([report._replace(outcomes=outcomes, findings=())], Context(rules=rules)))

    validator.validate(log)
    described = log["runs"][0]["tool"]["driver"]["rules"]
    assert [item["id"] for item in described] == [rule.id for rule in rules]
    assert all(
        rule.remedy.replace("{", "{{").replace("}", "}}") in item["help"]["text"]
        for rule, item in zip(rules, described, strict=True)
    )
    assert all(len(item["fullDescription"]["text"]) <= 1024 for item in described)  # what GitHub takes


def test_every_rule_that_ran_is_described_and_no_other(run: dict[str, Any]) -> None:
    rules = {item["id"]: item for item in run["tool"]["driver"]["rules"]}

    assert list(rules) == [
        "acme/broken",
        "files/incomplete-checkpoint",
        "files/missing-optimizer",
        "files/unreadable",
        "loss/jump",
        "weights/outlier",
    ]
    assert rules["files/missing-optimizer"]["defaultConfiguration"] == {"level": "error"}
    assert "What to do: Resume from an older checkpoint." in rules["files/missing-optimizer"]["help"]["text"]
    assert "`save_only_model`" in rules["files/missing-optimizer"]["help"]["markdown"]
    assert rules["acme/broken"] == {"id": "acme/broken"}


def test_results_point_at_their_rules(run: dict[str, Any]) -> None:
    rules = run["tool"]["driver"]["rules"]

    assert [result["ruleId"] for result in run["results"]] == [rules[r["ruleIndex"]]["id"] for r in run["results"]]
    assert [result["level"] for result in run["results"]] == ["error", "error", "warning", "note"]
    assert [result["properties"]["blocks_resume"] for result in run["results"]] == [True, True, False, True]


def test_places_are_relative_uris(run: dict[str, Any]) -> None:
    uris = [uri(result) for result in run["results"]]

    assert uris[0] == "current_model/checkpoint-200/optimizer.pt"
    assert uris[3] == "current_model/checkpoint-400/"
    assert unquote_to_bytes(uris[1]).startswith(b"current_model/checkpoint-200/x\n::set-output")
    assert b"\x1b[2J\xff\xe2\x80\xae" in unquote_to_bytes(uris[1])
    for text in uris:
        assert text.isascii()
        assert (urlsplit(text).scheme, urlsplit(text).netloc, urlsplit(text).query, urlsplit(text).fragment) == (
            "",
        ) * 4


def test_a_run_elsewhere_has_an_absolute_uri(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = json.loads(render([report._replace(path=str(tmp_path / "a b"))]))["runs"][0]["results"][0]
    elsewhere = json.loads(render([report._replace(path="../run")]))["runs"][0]["results"][0]

    assert uri(here) == "a%20b/checkpoint-200/optimizer.pt"
    place = elsewhere["locations"][0]["physicalLocation"]["artifactLocation"]
    assert unquote(place["uri"]) == f"file://{tmp_path.parent}/run/checkpoint-200/optimizer.pt"
    assert "uriBaseId" not in place


@pytest.mark.parametrize("file", ["../../elsewhere.txt", "/etc/passwd", "a/../../x", "\ud800"])
@pytest.mark.parametrize("path", ["current_model", ".", "/"])
def test_no_result_points_out_of_the_checkpoint(report: Report, validator: Any, file: str, path: str) -> None:
    finding = Finding("x/y", Severity.ERROR, "checkpoint-200", file, "m", None, None, "r", True)

    log = json.loads(render([report._replace(path=path, findings=(finding,))]))

    validator.validate(log)
    assert "checkpoint-200/" in uri(log["runs"][0]["results"][0])
    assert ".." not in uri(log["runs"][0]["results"][0])


def test_a_fingerprint_is_of_the_place_and_not_of_the_words(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marks(changed: Report) -> list[dict[str, str]]:
        return [result["partialFingerprints"] for result in json.loads(render([changed]))["runs"][0]["results"]]

    before = marks(report)
    monkeypatch.chdir(tmp_path)

    assert marks(report._replace(path=str(tmp_path / "current_model"))) == before
    assert marks(report._replace(findings=tuple(f._replace(message="other") for f in report.findings))) == before
    assert marks(report._replace(path="other")) != before
    twice = marks(report._replace(findings=report.findings[:1] * 2))
    assert twice[0] == before[0]
    assert twice[1] != before[0]


def test_a_hostile_name_makes_neither_a_link_nor_a_placeholder(run: dict[str, Any]) -> None:
    text = run["results"][1]["message"]["text"]

    assert "{{0}} [sound\\](https://evil.example)" in text
    assert "\x1b" not in text
    assert text.splitlines()[1:] == ["expected a\\x00b, found nothing", "What to do: Restore it, 100%."]


def test_what_is_incomplete_says_so(report: Report, context: Context) -> None:
    run, lost = json.loads(render([report], context))["runs"]

    assert run["invocations"][0]["executionSuccessful"] is False
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert [note["level"] for note in notes] == ["error", "note"]
    assert "acme/broken crashed: KeyError: 'x'" in notes[0]["message"]["text"]
    assert lost["invocations"][0]["executionSuccessful"] is False
    (result,) = lost["results"]
    assert (result["ruleId"], result["level"]) == ("audit/not-audited", "error")
    assert result["message"]["text"] == "no\\nwhere: no such run"
    assert uri(result) == "no%0Awhere/"


def test_a_sound_run_has_an_empty_list_of_results(report: Report, validator: Any) -> None:
    log = json.loads(render([report._replace(findings=(), outcomes=report.outcomes[:1])]))

    validator.validate(log)
    assert log["runs"][0]["results"] == []
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is True


def test_several_runs_are_kept_apart(report: Report) -> None:
    runs = json.loads(render([report, report._replace(path="other")]))["runs"]

    assert [run["automationDetails"]["id"] for run in runs] == [
        "checkpoint-audit/current_model/",
        "checkpoint-audit/other/",
    ]


def test_the_schema_refuses_what_is_wrong(report: Report, validator: Any) -> None:
    log = json.loads(render([report]))
    log["runs"][0]["results"][0]["level"] = "fatal"

    with pytest.raises(jsonschema.ValidationError):
        validator.validate(log)


def test_an_accepted_finding_is_suppressed_and_no_error(report: Report) -> None:
    first, *others = report.findings
    accepted = first._replace(blocks_resume=False, accepted="meant so")

    results = json.loads(render([report._replace(findings=(*others, accepted))]))["runs"][0]["results"]

    assert [item["suppressions"] for item in results[:-1]] == [[]] * len(others)
    assert results[-1]["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "meant so"},
    ]
    assert results[-1]["level"] == "note"
    assert results[-1]["message"]["text"].endswith("accepted: meant so")
    assert "suppressions" not in render([report])
