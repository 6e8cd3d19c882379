"""The page as a text: nothing of the audited files is markup, nothing is loaded, and it stays small."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.facts.series import Point
from audit.findings import Severity
from audit.page import RunCurves
from audit_html.markup import LONGEST, html, node, printable, raw
from audit_html.page import render
from tests.plugins.audit_html.made import ODD, SCRIPT, finding, run


class Parsed(HTMLParser):
    """Elements with their attributes, texts, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.text = ""
        self.raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.raw = False

    def handle_data(self, data: str) -> None:
        if self.raw:
            self.inside.append((self.elements[-1][0], data))
        else:
            self.text += data


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Elements and the names of their attributes, without what depends on how much there is to say."""
    return [(tag, tuple(attributes)) for tag, attributes in Parsed(page).elements]


def data(page: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    parsed: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return parsed


def test_hostile_text_makes_no_element_and_no_attribute() -> None:
    hostile = run(path=ODD, text=ODD, keys=("loss", ODD, "eval_" + ODD))
    harmless = run(path="a", text="b", keys=("loss", "c", "eval_c"))

    assert shape(render([hostile])) == shape(render([harmless]))


@given(st.text(st.characters(), min_size=1, max_size=60))
def test_no_text_at_all_makes_an_element(text: str) -> None:
    page = Parsed(html(node("p", text, node("a", text, href=text), text)))

    assert page.elements == [("p", {}), ("a", {"href": printable(text)})]
    assert page.text.strip("\n") == (3 * printable(text)).strip("\n")


def test_hostile_text_is_still_readable() -> None:
    page = Parsed(render([run(path=ODD)]))

    assert SCRIPT in page.text
    assert "\\u202egnp.\\x1b[31m\\udcff&amp;" in page.text  # spelled out, and not what it stands for
    assert not set("\u202e\x1b\udcff") & set(page.text)


def test_a_page_can_be_written_as_utf_8_whatever_the_names_are() -> None:
    assert render([run(path=ODD, text=ODD, keys=(ODD,))]).encode()


def test_only_the_pages_own_scripts_and_styles_may_run() -> None:
    page = Parsed(render([run()]))
    (policy,) = (attributes["content"] or "" for tag, attributes in page.elements if attributes.get("http-equiv"))
    style, _, *scripts = (text for _, text in page.inside)
    hashes = {f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in (style, *scripts)}

    assert [tag for tag, _ in page.inside] == ["style", "script", "script", "script"]
    assert set(re.findall(r"'sha256-[^']*'", policy)) == hashes
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_nothing_is_loaded_from_anywhere() -> None:
    page = Parsed(render([run(), run()]))

    assert {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "form", "base"} == set()
    assert all("src" not in attributes and "style" not in attributes for _, attributes in page.elements)
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_every_id_is_there_once_and_every_reference_leads_to_one() -> None:
    elements = Parsed(render([run(findings=5), run(path="other")])).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    references = {
        name
        for _, attributes in elements
        for key in ("aria-labelledby", "aria-describedby")
        for name in (attributes.get(key) or "").split()
    } | {(attributes.get("href") or "#main")[1:] for _, attributes in elements}

    assert len(ids) == len(set(ids))
    assert references <= set(ids)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_hundred_thousand_entries_stay_below_two_megabytes(runs: int) -> None:
    keys = ("loss", "eval_loss", "learning_rate", "grad_norm", *(f"rewards/{number}" for number in range(6)))
    large = run(entries=100_000, keys=keys, findings=200)

    assert len(render([large] * runs).encode()) < 2_000_000


def test_spikes_and_numbers_that_are_none_survive_in_a_long_log() -> None:
    (shown,) = data(render([run(entries=100_000)]))["runs"]
    (series,) = shown["charts"][0]["series"]  # type: ignore[index]

    assert max(series["high"]) == 97.5
    assert [(word, count) for _, word, count in series["odd"]] == [("NaN", 1)]
    assert max(value for value in series["y"] if value is not None) < 10


def test_numbers_that_no_axis_can_hold_are_marks() -> None:
    curve = (
        run().curves[0]._replace(points=(Point(1, 1e308), Point(2, -1e308), Point(3, 1e-320), Point(4, float("inf"))))
    )
    (shown,) = data(render([run(curves=(curve,))]))["runs"]
    (series,) = shown["charts"][0]["series"]  # type: ignore[index]

    assert series["y"] == [None, None, 0.0, None]
    assert [word for _, word, _ in series["odd"]] == ["too large", "too large", "Infinity"]


def test_more_findings_than_anybody_reads_are_counted() -> None:
    placed = tuple(finding(number, "x" * 5000, Severity.WARNING, step=number) for number in range(3000))
    page = render([run(placed=placed)])

    assert page.count('class="finding ') == 1000
    assert "2,000 more are not shown" in page
    assert "x" * (LONGEST - 1) + "…" in page
    assert "x" * LONGEST not in page


def test_many_findings_of_one_rule_are_folded() -> None:
    assert "9 more of loss/jump" in render([run(findings=10)])
    assert "more of loss/jump" not in render([run(findings=3)])


def test_a_run_without_a_log_has_an_axis_for_its_checkpoints() -> None:
    (shown,) = data(render([run(curves=())]))["runs"]

    assert [(chart["title"], chart["series"]) for chart in shown["charts"]] == [("Checkpoints", [])]  # type: ignore[attr-defined]


def test_a_script_that_would_end_early_is_refused() -> None:
    with pytest.raises(ValueError, match="would end it"):
        raw(node("body"), "script", "'</script>'")


def test_several_runs_are_compared_in_one_line_each() -> None:
    page = render([run(path="one"), run(path="two"), RunCurves(run(path="three").report, (), (), (), (), 0, None, 0)])

    assert [name for name in ("one", "two", "three") if f">{name}</a></th>" in page] == ["one", "two", "three"]


def test_what_rests_on_structure_says_so() -> None:
    whole = run("run", 100)
    report = whole.report
    checkpoints = tuple(item._replace(by_structure=True, sealed=False) for item in report.checkpoints)
    marks = tuple(mark._replace(by_structure=True, sealed=False) for mark in whole.marks)

    page = render([whole._replace(report=report._replace(checkpoints=checkpoints, depth="quick"), marks=marks)])

    assert "1 resumable (1 by structure), " in page
    assert "resumable by structure" in page
    assert "by structure" not in render([whole])


def test_no_other_command_pays_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage imports html
    script = (
        "import sys, audit.manager\n"
        "assert 'html' in audit.manager.load().pages\n"
        "print({'audit.views.curves', 'audit_html.page', 'html', 'xml.etree'} & set(sys.modules))"
    )

    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
