"""Put the page together: one file that loads nothing, runs only its own script, and escapes all text."""

import json
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

from audit.plugin import ACCEPTED, Mark, Placed, RunCurves, Severity, __version__, utc_time
from audit_html.body import PLURAL, ROWS, article, place_of, rank_of, state_class
from audit_html.charts import charts_of, numbers, overlaid, share_of
from audit_html.comparison import comparison
from audit_html.markup import add, asset, header, html, node, printable, raw

RELOAD_SECONDS = 10
"""How often a page that is written anew looks for itself."""
MARKS = 2000
"""Checkpoints, and as many findings, that the charts of all runs together show."""


def render(runs: Sequence[RunCurves]) -> str:
    """Return the page for one run, or for several side by side."""
    charts = [charts_of(run) for run in runs]
    share = share_of(charts)
    rows, marks = max(20, ROWS // len(runs)), max(20, MARKS // len(runs))
    data = {
        "runs": [
            {**_run(number, run, marks, rows), "charts": numbers(own, share)}
            for number, (run, own) in enumerate(zip(runs, charts, strict=True))
        ],
        "overlaid": [printable(key) for key, _, _ in overlaid(charts)] if len(runs) > 1 else [],
    }
    many = len(runs) > 1
    main = node("main", id="main")
    if many:
        main.append(comparison(runs, charts))
    articles = [article(number, run, own, rows) for number, (run, own) in enumerate(zip(runs, charts, strict=True))]
    wall = node("div", *articles, class_="runs many" if many else "runs one")
    if many:
        wall.attrib |= {"tabindex": "0", "role": "region", "aria-label": "Runs side by side"}
    main.append(wall)
    body = node("body", node("a", "Skip to the content", href="#main", class_="skip"), _top(runs), main, _foot())
    style = asset("uplot/uPlot.min.css") + asset("page.css")
    scripts = [f"/*\n{asset('uplot/LICENSE')}*/\n{asset('uplot/uPlot.iife.min.js')}", asset("page.js")]
    add(body, node("div", id="tip", role="tooltip", hidden=True))
    raw(body, "script", _json(data), type="application/json", id="data")
    for script in scripts:
        raw(body, "script", script)
    reload = RELOAD_SECONDS if any(run.live for run in runs) else None
    return html(node("html", header(_title(runs), style, scripts), body, lang="en", data_reload=reload))


def _title(runs: Sequence[RunCurves]) -> str:
    title = ", ".join(f"{run.report.path}: {run.report.verdict_for_people}" for run in runs[:3])
    return f"{title}{', ...' if len(runs) > 3 else ''}"


def _top(runs: Sequence[RunCurves]) -> Element:
    filters = node("fieldset", node("legend", "Show", class_="unseen"), class_="filter")
    counts = [(level.value, PLURAL[level], sum(run.report.count(level) for run in runs)) for level in Severity]
    if accepted := sum(run.report.accepted for run in runs):
        counts.append((ACCEPTED, ACCEPTED, accepted))
    for word, name, count in counts:
        box = node("input", type="checkbox", value=word, checked=True)
        filters.append(node("label", box, node("span", name), node("b", str(count)), class_=word))
    tools = node("div", filters, class_="tools", role="group", aria_label="Page")
    if len(runs) > 1:
        box = node("input", type="checkbox", id="same", checked=True)
        tools.append(node("label", box, "same scales", class_="same"))
    tools.append(node("button", "Show all steps", type="button", id="whole", hidden=True))
    tools.append(node("button", "Theme: automatic", type="button", id="theme"))
    tools.append(node("button", "Print", type="button", id="print"))
    made = utc_time(form="%Y-%m-%d %H:%M UTC")
    title = node("div", node("h1", "Checkpoint audit"), node("p", f"{made}, version {__version__}"))
    return node("header", title, tools, class_="top")


def _foot() -> Element:
    return node(
        "footer",
        node(
            "p",
            "Drag across a chart to zoom in, double-click to zoom out. With the keyboard, on a chart: ",
            node("kbd", "←"), " ", node("kbd", "→"), " read the values, ", node("kbd", "+"), " ", node("kbd", "−"),
            " zoom in and out, ", node("kbd", "0"), " shows everything.",
            class_="help",
        ),
        node("p", "If many values share a pixel, the line is their median and the band is their range."),
        node("p", "Charts by uPlot 1.6.32, © Leon Sorokin, MIT licence."),
        class_="foot",
    )  # fmt: skip


def _run(number: int, run: RunCurves, marks: int, rows: int) -> dict[str, Any]:
    """What the script gets of a run besides the numbers of its charts."""
    order = sorted(enumerate(run.placed), key=lambda item: rank_of(item[1].finding))
    first = max(0, len(run.marks) - rows)
    return {
        "id": f"r{number}",
        "name": printable(run.report.path),
        "last": run.last_step,
        "legs": [leg.last for leg in run.legs[:200]],
        "marks": [
            _mark(place, mark, place >= first) for place, mark in enumerate(run.marks) if mark.step <= run.last_step
        ][-marks:],
        "findings": [_finding(place, item) for place, item in order if item.step is not None][:marks],
    }


def _mark(number: int, mark: Mark, listed: bool) -> dict[str, Any]:
    words = [mark.words, *(["sealed"] if mark.sealed else []), *(["best"] if mark.best else [])]
    if mark.rehearsed is not None:
        words.append("rehearsed" if mark.rehearsed else "rehearsal differs")
    if mark.resume_here:
        words.append("resume from here")
    return {
        "row": number if listed else None,
        "step": mark.step,
        "state": state_class(mark),
        "text": printable(f"{mark.name}: {', '.join(words)}"),
    }


def _finding(number: int, placed: Placed) -> dict[str, Any]:
    finding = placed.finding
    return {
        "number": number,
        "step": placed.step,
        "key": placed.key,
        "severity": finding.word,
        "text": printable(f"{finding.word}, {place_of(finding)}: {finding.message}"),
    }


def _json(data: Any) -> str:
    """Return JSON that can neither end the element around it nor begin a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
