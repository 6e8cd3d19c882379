"""The page of a fleet: whatever the table holds is text, nothing is loaded, nothing is run."""

import re
from base64 import b64encode
from hashlib import sha256

from audit.page import FleetGroup, FleetRule, FleetRun, FleetView
from audit_html.fleet import RULES, render
from audit_html.markup import printable
from tests.plugins.audit_html.made import ODD
from tests.plugins.audit_html.test_page import Parsed


def run(text: str, page: str | None = None, rules: int = 1) -> FleetRun:
    return FleetRun(
        text,
        text,
        "audited",
        "broken",
        False,
        "full",
        3,
        2,
        (text,) * rules,
        text,
        5,
        4,
        1000,
        10,
        20,
        text,
        text,
        page,
    )


def view(text: str, page: str | None = None, rules: int = 1) -> FleetView:
    one = run(text, page, rules)
    return FleetView(
        table=text,
        made="2026-11-27T12:00:00Z",
        version="1",
        total=FleetGroup("all", 12_000, 8, 7, 6, 5000, 10, 20),
        verdicts={"sound": 11_979, "suspect": 7, "broken": 8},
        statuses={"audited": 11_994, "failed": 4, "unread": 2, "gone": 0},
        depths={"quick": 11_000, "full": 994},
        crashed=(text,),
        worst=(one,),
        unaudited=(one._replace(verdict=None, status="failed"),),
        rules=(FleetRule(text, "error", 8, 9, text),),
        ages=(FleetGroup(text, 1),),
        owners=(FleetGroup(text, 1),),
        freed=(one,),
    )


def test_hostile_text_makes_no_element_and_no_attribute() -> None:
    plain, hostile = (Parsed(render(view(text))) for text in ("a/b", f"a/{ODD}"))  # both name a directory above
    assert [tag for tag, _ in plain.elements] == [tag for tag, _ in hostile.elements]
    assert [sorted(attributes) for _, attributes in plain.elements] == [
        sorted(attributes) for _, attributes in hostile.elements
    ]
    assert printable(ODD).rpartition("/")[2] in hostile.text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render(view("a"))
    parsed = Parsed(page)
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in parsed.elements}
    (policy,) = (found["content"] for tag, found in parsed.elements if "Content-Security-Policy" in found.values())
    (style,) = (text for tag, text in parsed.inside if tag == "style")
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    assert "checkpoint audit</title>" in page  # what may be overwritten


def test_a_run_with_a_page_is_a_link() -> None:
    assert '<a href="./r/report.html">a</a>' in render(view("a", "./r/report.html"))
    assert "href" not in re.sub(r'href="#main"', "", render(view("a")))


def test_what_is_shown_and_what_is_only_counted() -> None:
    text = Parsed(render(view("x/y", rules=RULES + 2))).text
    assert "14 more are in the table only" in text  # 15 broken or suspect, one shown
    assert "and 2 more" in text
    assert "11,979 sound" in text


def test_an_empty_fleet_has_a_page() -> None:
    empty = FleetView(
        "t", "", "", FleetGroup("all"), {"sound": 0, "suspect": 0, "broken": 0}, {}, {}, (), (), (), (), (), (), ()
    )
    text = Parsed(render(empty)).text
    assert "No run has an error or a warning" in text
    assert "Nothing was found" in text


def test_runs_are_named_from_the_directory_that_all_are_in() -> None:
    two = tuple(run(f"/data/runs/{name}") for name in ("ann/one", "bob/two"))
    page = render(view("t")._replace(worst=two, unaudited=(), freed=two[:1]))
    text = Parsed(page).text
    assert "Runs are named from" in text
    assert "/data/runs/" in text
    assert ">ann/one<" in page
    assert 'title="/data/runs/bob/two"' in page

    for others in (("/a/one", "s3://b/two"), ("one", "two")):
        apart = tuple(run(name) for name in others)
        page = render(view("t")._replace(worst=apart, unaudited=(), freed=()))
        assert "Runs are named from" not in page
        assert f">{others[1]}<" in page
