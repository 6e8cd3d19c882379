"""The page in a real Chromium, without a network: it draws, it is used by keyboard, and hostile text stays text."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.judging.verification import verify_run
from audit.options import Options
from audit.page import RunCurves
from audit.testing.runs import edit_state
from audit.views.curves import curves_of
from audit_html.page import render
from tests.plugins.audit_html.made import ODD, run
from tests.plugins.audit_rules.loss.resumed import level, resumed

playwright = pytest.importorskip("playwright.sync_api", reason="the dependency group browser is not installed")
CHROMIUM = os.environ.get("AUDIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """``show(runs)`` opens their page; at the end of the test nothing may have been complained of or asked for."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(*runs: RunCurves, width: int = 1400, **options: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_bytes(render(runs).encode())
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) == {(tmp_path / "page.html").as_uri()}


@pytest.fixture
def jump(tmp_path: Path) -> RunCurves:
    """A run whose loss jumps at step 200, which is a boundary, and whose last checkpoint has no scheduler."""
    path = resumed(tmp_path / "run", [*level(1.0), *level(1.5)], boundaries=[200])
    edit_state(f"{path}/checkpoint-400", log_history=lambda log: [*log[:-3], {**log[-3], "grad_norm": float("nan")}])
    os.remove(f"{path}/checkpoint-400/scheduler.pt")
    found = verify_run(path, Options(ledger=False))
    return curves_of(found.run, found.report)


def drawn(page: Any) -> int:
    """Canvases with something on them."""
    count: int = page.evaluate(
        """() => [...document.querySelectorAll("canvas")].filter((canvas) => canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value)).length"""
    )
    return count


def focused(page: Any, what: str = "id") -> str:
    return str(page.evaluate("(what) => document.activeElement.getAttribute(what)", what))


def test_every_curve_is_drawn(show: Open, jump: RunCurves) -> None:
    assert drawn(show(jump)) == len(jump.curves) == 3


def test_hostile_text_runs_nothing_and_is_shown_as_text(show: Open) -> None:
    page = show(run(path=ODD, text=ODD, keys=("loss", ODD, "eval_" + ODD)))
    page.locator(".pin.found").first.hover()
    page.locator(".more summary").click()
    page.wait_for_timeout(200)

    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("img").count() == 0
    assert "<script>window.pwned=1</script>" in page.inner_text("#tip")
    assert "<script>window.pwned=1</script>" in page.inner_text("h2")
    assert "<script>window.pwned=1</script>" in page.title()
    assert drawn(page) == 3


def test_a_script_that_got_in_all_the_same_would_not_run(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "tampered.html"
    path.write_bytes(
        render([run()]).replace("</main>", "<script>pwned=1</script><img src=x onerror='pwned=1'></main>").encode()
    )
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_timeout(200)

    assert page.evaluate("typeof window.pwned") == "undefined"
    page.close()


def test_the_keyboard_alone_reads_values_zooms_and_finds_findings(show: Open, jump: RunCurves) -> None:
    page = show(jump)
    page.focus("#r0-c0")
    page.keyboard.press("Home")
    assert "step 10" in page.inner_text("#r0 .readout")
    page.keyboard.press("ArrowRight")
    assert "step 20" in page.inner_text("#r0 .readout")
    assert page.locator("#r0 .readout").first.get_attribute("aria-live") == "polite"

    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_timeout(100)
    assert page.locator("#r0-c0 .pin.found").count() == 0  # both lie far to the right
    page.keyboard.press("0")
    page.wait_for_timeout(100)

    page.keyboard.press("Tab")  # through the log button's chart into its pins
    assert "The loss jumps" in focused(page, "aria-label")
    assert "The loss jumps" in page.inner_text("#tip")
    page.keyboard.press("Enter")
    card = page.locator(f"#{focused(page)}")
    assert "loss/jump" in card.inner_text()
    card.locator(".where").press("Enter")
    assert "step 200" in focused(page, "aria-label")


def test_everything_that_reacts_can_be_reached_by_the_keyboard(show: Open, jump: RunCurves) -> None:
    names = show(jump).evaluate(
        """() => [...document.querySelectorAll("button, input, .plot, .scrolling, summary")]
        .filter((item) => item.tabIndex < 0).map((item) => item.className)"""
    )

    assert names == []


def test_severities_are_switched_on_cards_and_pins(show: Open, jump: RunCurves) -> None:
    page = show(jump)
    page.uncheck(".filter input[value=error]")
    page.wait_for_timeout(100)

    assert page.locator(".finding:visible").count() == 0
    assert page.locator(".pin.found").count() == 0
    assert page.is_visible("text=No finding of the chosen severities.")
    page.check(".filter input[value=error]")
    page.wait_for_timeout(100)
    assert page.locator(".pin.found").count() == 2


def test_the_theme_follows_the_system_until_it_is_chosen(show: Open) -> None:
    page = show(run(), color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    page.click("#theme")
    page.click("#theme")

    assert dark != light
    assert page.inner_text("#theme") == "Theme: dark"
    assert page.evaluate(background) == dark
    page.reload()
    assert page.inner_text("#theme") == "Theme: dark"


def test_a_drag_zooms_all_charts_of_the_run_and_a_double_click_goes_back(show: Open, jump: RunCurves) -> None:
    page = show(jump)
    box = page.locator("#r0-c0 .u-over").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 50, steps=4)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert page.locator("#r0-c1 .pin.saved").count() == 0
    page.mouse.dblclick(box["x"] + 60, box["y"] + 50)
    page.wait_for_timeout(100)
    assert page.locator("#r0-c1 .pin.saved").count() == 4


def test_nothing_is_wider_than_a_narrow_window(show: Open, jump: RunCurves) -> None:
    page = show(jump, jump, width=360)

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert drawn(page) == 6 + 3


def test_several_runs_stand_side_by_side_on_the_same_scales(show: Open, jump: RunCurves) -> None:
    page = show(jump, run(), run(path="third", findings=0), width=1600)
    rows = page.evaluate(
        """() => [...document.querySelectorAll(".run")].map((one) => [...one.querySelectorAll(".chart")]
        .map((chart) => [chart.getBoundingClientRect().top, chart.getBoundingClientRect().height]))"""
    )

    assert rows[0] == rows[1] == rows[2]
    assert drawn(page) == 9 + 3
    assert page.is_checked("#same")


def test_runs_are_overlaid_in_one_chart_with_a_legend(show: Open, jump: RunCurves) -> None:
    page = show(*(run(path=f"seed-{number}{ODD}") for number in range(5)))

    assert page.locator(".overlaid .chart").count() == 3
    assert page.locator("#all-c0-title").inner_text() == "Loss"
    keys = page.locator(".overlaid .chart").first.locator(".legend .key")
    assert [text[:6] for text in keys.all_inner_texts()] == [f"seed-{number}" for number in range(5)]
    colors = keys.locator("i").evaluate_all("all => all.map((item) => getComputedStyle(item).borderTopColor)")
    assert len(set(colors)) == 5
    page.focus("#all-c0")
    page.keyboard.press("Home")
    assert page.inner_text("#all-c0-title ~ .readout").count("seed-") == 5
    assert page.evaluate("typeof window.pwned") == "undefined"


def test_one_run_and_metrics_of_one_run_alone_are_not_overlaid(show: Open, jump: RunCurves) -> None:
    assert show(jump).locator(".overlaid").count() == 0
    page = show(run(path="a", keys=("loss", "eval_f1")), run(path="b", keys=("grad_norm", "loss")))
    assert page.locator(".overlaid h4").all_inner_texts() == ["Loss"]


@pytest.mark.parametrize("same", [True, False])
def test_a_zoom_is_that_of_all_charts_and_a_button_ends_it(show: Open, same: bool) -> None:
    page = show(run(path="a"), run(path="b"), run(path="c"))
    page.set_checked("#same", same)
    assert not page.is_visible("#whole")
    page.focus("#r1-c1")
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("+")
    page.wait_for_timeout(100)

    assert page.locator(".pin.saved").count() == 0  # the first checkpoint is far to the right, in every chart
    page.click("#whole")
    page.wait_for_timeout(100)
    assert page.locator(".pin.saved").count() == 3 * 3 * 2
    assert not page.is_visible("#whole")


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_on_a_phone_tables_scroll_and_the_page_does_not(show: Open, jump: RunCurves, runs: int) -> None:
    page = show(*[jump] * runs, width=390)
    table = page.locator("#r0 .checkpoints .scrolling")
    table.evaluate("item => { item.scrollLeft = 10000 }")

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert table.evaluate("item => item.scrollLeft") > 100
    last = table.locator("thead th").last.bounding_box()
    assert last["x"] + last["width"] <= 390


def test_many_runs_scroll_in_their_own_region(show: Open, jump: RunCurves) -> None:
    page = show(*[jump] * 6, width=1400)
    tops = page.locator(".run .checkpoints").evaluate_all("all => all.map((item) => item.getBoundingClientRect().top)")

    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    assert page.locator(".runs").evaluate("item => item.scrollWidth > item.clientWidth")
    assert len(tops) == 6
    assert len(set(tops)) == 1


def test_a_page_that_is_written_anew_shows_it_by_itself_and_keeps_zoom_and_scroll(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit_html import page as module

    monkeypatch.setattr(module, "RELOAD_SECONDS", 1)
    path = tmp_path / "page.html"
    path.write_text(render([run(live=True)]))
    page = browser.new_context(viewport={"width": 1000, "height": 500}, offline=True).new_page()
    page.goto(path.as_uri())
    page.locator(".checks summary").click()
    page.focus("#r0-c0")
    page.keyboard.press("+")
    page.evaluate("scrollTo(0, 300)")
    path.write_text(render([run(path="later", live=True)]))
    page.wait_for_selector("html[data-ready] h2:text-is('later')")

    assert page.is_visible("#whole")
    assert page.evaluate("scrollY") == 300
    assert page.locator(".checks").get_attribute("open") is not None
    page.click("#whole")
    page.wait_for_timeout(1500)
    assert not page.is_visible("#whole")
    page.context.close()


def test_a_page_of_audit_report_is_not_loaded_again() -> None:
    assert "data-reload" not in render([run()])


def test_the_printed_page_is_light_and_whole(show: Open, jump: RunCurves) -> None:
    page = show(jump, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details:not([open])").count() == 0
    assert drawn(page) == 3
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_without_scripts_everything_but_the_curves_is_there(show: Open, jump: RunCurves) -> None:
    page = show(jump, java_script_enabled=False)
    text = page.inner_text("body")

    assert "The newest resumable checkpoint is checkpoint-300" in text
    assert "The loss jumps from 1 to 1.5" in text
    assert "The curves need JavaScript" in text
    assert "Theme" not in text


def test_values_that_no_axis_can_hold_and_steps_beyond_all_measure_do_not_hang_it(show: Open) -> None:
    from audit.facts.series import Point
    from audit.page import Curve
    from audit.views.curves import LAST_STEP

    wild = [Point(0, 1e308), Point(1, -1e308), Point(2, 1e99), Point(3, -1e99), Point(LAST_STEP, 1e-300)]
    curves = (Curve("loss", tuple(wild)), Curve("grad_norm", (Point(7, float("nan")),)), Curve("x", (Point(1, 0.0),)))
    page = show(run(curves=curves, last_step=LAST_STEP))

    assert page.evaluate("document.documentElement.dataset.ready") == "true"


def test_a_hundred_thousand_entries_are_drawn(show: Open) -> None:
    page = show(run(entries=100_000, findings=300))

    assert drawn(page) == 3
    assert page.locator("#r0-c0 .pin.found b").inner_text() == "300"
