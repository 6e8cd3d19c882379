"""The parts of the page that need no script, as CI servers disable it: verdicts, findings, checkpoints, legs."""

from collections.abc import Sequence
from math import isfinite
from xml.etree.ElementTree import Element

from audit.plugin import (
    BROKEN,
    SOUND,
    SUSPECT,
    Finding,
    Leg,
    Mark,
    Outcome,
    Placed,
    Report,
    RunCurves,
    Severity,
    human_bytes,
)
from audit_html.charts import Chart, sentence, short, spaced
from audit_html.markup import add, node

ROWS = 1000
"""Findings, and rows of tables, of all runs together; only the number of the others is shown."""
ALIKE = 3
"""Findings of one rule that are shown before the others are folded."""

SIGN = {SOUND: "✓", SUSPECT: "!", BROKEN: "✕"}
PLURAL = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.INFO: "notes"}


def article(number: int, run: RunCurves, charts: Sequence[Chart], rows: int) -> Element:
    """Return everything about one run."""
    here = f"r{number}"
    return node(
        "article",
        _verdict(here, run),
        _charts(here, charts, run),
        _findings(here, run, rows),
        _checkpoints(here, run.marks, rows),
        _legs(run.legs, rows),
        _checks(run.report),
        class_="run" if run.placed else "run clear",
        id=here,
        aria_labelledby=f"{here}-name",
    )


def _verdict(here: str, run: RunCurves) -> Element:
    report = run.report
    counts = [
        f"{report.count(severity)} {PLURAL[severity] if report.count(severity) != 1 else PLURAL[severity][:-1]}"
        for severity in Severity
        if report.count(severity)
    ]
    counts += [f"{report.accepted} accepted"] if report.accepted else []
    advice = node("p", report.resume_in_words, class_="advice")
    head = node(
        "header",
        node("h2", report.path, id=f"{here}-name"),
        node(
            "p",
            badge(report.verdict, report.verdict_for_people),
            " ",
            ", ".join(counts) or "nothing found",
            class_="verdict",
        ),
        advice,
        _facts(run),
        class_=f"head {report.verdict}",
    )
    for crash in report.crashed:
        text = f"The rule {crash.rule} crashed, so this audit is incomplete: {crash.reason}"
        head.append(node("p", text, class_="crash", role="alert"))
    for note in report.notes:
        head.append(node("p", f"Note: {note}", class_="note"))
    return head


def badge(verdict: str, words: str | None = None) -> Element:
    """Return a verdict as a coloured word, or as other ``words``."""
    sign = node("span", SIGN[verdict], aria_hidden="true")
    return node("span", sign, f" {words or verdict}", class_=f"badge {verdict}")


def _facts(run: RunCurves) -> Element:
    report = run.report
    resumable = sum(item.resumable and item.judged for item in report.checkpoints)
    unjudged = sum(not item.judged for item in report.checkpoints)
    unread = sum(item.resumable and item.judged and item.by_structure for item in report.checkpoints)
    by_structure = f" ({unread} by structure)" if unread else ""
    passed = report.tally(Outcome.PASS)
    idle = report.tally(Outcome.NOT_APPLICABLE)
    first, last, lowest = losses(run)
    steps = spaced(run.last_step) + (f" of {spaced(run.max_steps)}" if run.max_steps and run.max_steps > 0 else "")
    size = human_bytes(sum(item.bytes for item in report.checkpoints))
    facts = (
        ("Steps", steps, f"{spaced(run.entries)} log entries"),
        ("Loss", f"{first} → {last}" if first else "not logged", f"lowest {lowest}" if lowest else ""),
        (
            "Checkpoints",
            f"{len(report.checkpoints)}",
            f"{resumable} resumable{by_structure}, {f'{unjudged} not judged, ' if unjudged else ''}{size}",
        ),
        ("Batches", str(len(run.legs)), "trained in one go" if len(run.legs) == 1 else "with resumes between"),
        ("Checks", f"{passed} passed", f"{idle} not applicable, depth {report.depth}"),
    )
    made = node("dl", class_="facts")
    for name, value, more in facts:
        made.append(node("div", node("dt", name), node("dd", value, node("small", more) if more else None)))
    return made


def losses(run: RunCurves) -> tuple[str, str, str]:
    """Return the first, the last and the lowest loss, empty if none was logged."""
    ends = [leg for leg in run.legs if leg.loss_first is not None and leg.loss_last is not None]
    if not ends:
        return "", "", ""
    losses = [point.value for curve in run.curves if curve.key == "loss" and curve.current for point in curve.points]
    lowest = min((value for value in losses if isfinite(value)), default=None)
    return _optional(ends[0].loss_first), _optional(ends[-1].loss_last), _optional(lowest)


def _charts(here: str, charts: Sequence[Chart], run: RunCurves) -> Element:
    made = node("section", node("h3", "Curves", class_="unseen"), class_="charts", aria_label="Curves")
    more = node("details", node("summary", ""), class_="more")
    for number, chart in enumerate(charts):
        (made if chart.main else more).append(figure(f"{here}-c{number}", chart.title, sentence(chart)))
    others = len(more) - 1
    if others:
        add(more[0], f"{others} further {'metric' if others == 1 else 'metrics'}")
        made.append(more)
    if run.left_out:
        made.append(node("p", f"{spaced(run.left_out)} more keys of the log are not shown.", class_="note"))
    made.append(node("noscript", node("p", "The curves need JavaScript; everything else is shown.")))
    return made


def figure(place: str, title: str, words: str) -> Element:
    """Return the frame of a chart, which the script fills: ``words`` describe it, the id of its plot is ``place``."""
    return node(
        "figure",
        node(
            "figcaption",
            node("h4", title, id=f"{place}-title"),
            node("button", "log scale", type="button", class_="log", aria_pressed="false", hidden=True),
            node("p", words, class_="sentence", id=f"{place}-sentence"),
            node("p", class_="readout", aria_live="off"),
        ),
        node(
            "div",
            class_="plot",
            id=place,
            tabindex="0",
            role="group",
            aria_roledescription="chart",
            aria_labelledby=f"{place}-title",
            aria_describedby=f"{place}-sentence",
        ),
        node("p", class_="legend"),
        class_="card chart",
    )


def _findings(here: str, run: RunCurves, rows: int) -> Element:
    made = node("section", node("h3", "Findings"), class_="findings card", aria_label="Findings")
    if not run.placed:
        passed = run.report.tally(Outcome.PASS)
        made.append(node("p", f"Nothing found; {spaced(passed)} checks passed.", class_="nothing"))
        return made
    groups: dict[tuple[int, str], list[tuple[int, Placed]]] = {}
    for number, placed in enumerate(run.placed):
        groups.setdefault((rank_of(placed.finding), placed.finding.rule), []).append((number, placed))
    left, places = rows, node("ul", class_="list")
    for (_, rule), members in sorted(groups.items(), key=lambda item: item[0][0]):
        shown = members[: max(0, left)]
        left -= len(shown)
        cards = [_card(here, number, placed) for number, placed in shown]
        if len(shown) <= ALIKE:
            add(places, *cards)
            continue
        severity = shown[0][1].finding.word
        summary = node("summary", f"{len(cards) - 1} more of {rule}")
        folded = node("details", summary, node("ul", *cards[1:], class_="list"))
        add(places, cards[0], node("li", folded, class_="alike", data_severity=severity))
    made.append(places)
    if left <= 0 and len(run.placed) > rows:
        made.append(
            node("p", f"{spaced(len(run.placed) - rows)} more are not shown; audit verify lists all.", class_="note")
        )
    made.append(node("p", "No finding of the chosen severities.", class_="filtered", hidden=True))
    return made


def _card(here: str, number: int, placed: Placed) -> Element:
    finding = placed.finding
    evidence = None
    if finding.expected is not None or finding.actual is not None:
        found = (node("b", "expected "), _value(finding.expected), node("b", ", found "), _value(finding.actual))
        evidence = node("p", *found, class_="evidence")
    where = None
    if placed.step is not None:
        where = node("button", f"step {spaced(placed.step)}", type="button", class_="where", data_finding=str(number))
    return node(
        "li",
        node("p", node("span", finding.word, class_="severity"), node("code", finding.rule), where),
        node("p", place_of(finding), class_="place"),
        node("p", finding.message, class_="message"),
        evidence,
        node("p", finding.remedy if finding.accepted is None else f"Accepted: {finding.accepted}", class_="remedy"),
        class_=f"finding {finding.word}",
        id=f"{here}-f{number}",
        data_severity=finding.word,
        tabindex="-1",
    )


def rank_of(finding: Finding) -> int:
    """Return the place of a finding in an order by severity, with the accepted ones at the end."""
    return -finding.severity.rank if finding.accepted is None else 1


def place_of(finding: Finding) -> str:
    """Return checkpoint and file, as in the other reports."""
    return "/".join(part for part in (finding.checkpoint, finding.file) if part) or "the run as a whole"


def _value(value: object) -> str:
    return "nothing" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)


def _checkpoints(here: str, marks: Sequence[Mark], rows: int) -> Element:
    made = node("section", node("h3", "Checkpoints"), class_="card checkpoints")
    if not marks:
        made.append(node("p", "There is no checkpoint."))
        return made
    body = node("tbody")
    first = max(0, len(marks) - rows)
    for number, mark in enumerate(marks[first:], first):
        state = node("td", node("span", class_=f"mark {state_class(mark)}", aria_hidden="true"), f" {mark.words}")
        told = ((mark.sealed, "sealed"), (mark.best, "best"), (mark.rehearsed, "rehearsed"))
        for true, word in (*told, (mark.rehearsed is False, "rehearsal differs")):
            if true:
                add(state, node("span", word, class_="tag"))
        if mark.resume_here:
            add(state, node("span", "resume from here", class_="tag here"))
        if mark.reason:
            state.append(node("small", mark.reason))
        cells = (_optional(mark.epoch), _optional(mark.loss), _optional(mark.learning_rate), spaced(mark.files))
        body.append(
            node(
                "tr",
                node("th", mark.name, scope="row"),
                state,
                *(node("td", cell, class_="number") for cell in cells),
                node("td", human_bytes(mark.bytes), class_="number"),
                node("td", f"{mark.saved} UTC" if mark.saved else "", class_="time"),
                id=f"{here}-m{number}",
                tabindex="-1",
            )
        )
    heads = ("Checkpoint", "State", "Epoch", "Loss", "Learning rate", "Files", "Size", "Saved")
    made.append(scrolling("Checkpoints", node("table", head(heads, numbers_from=2, text=("Saved",)), body)))
    if first:
        made.append(node("p", f"{spaced(first)} older ones are not shown.", class_="note"))
    return made


def state_class(mark: Mark) -> str:
    """Return the CSS class of a checkpoint's mark."""
    return mark.state.replace(" ", "-") + (" sealed" if mark.sealed else "") + (" here" if mark.resume_here else "")


def _optional(value: float | None) -> str:
    return "" if value is None else short(value)


def _legs(legs: Sequence[Leg], rows: int) -> Element:
    made = node("section", node("h3", "Batches, as far as known from files and ledger"), class_="card legs")
    body = node("tbody")
    for number, leg in enumerate(legs[:rows], 1):
        body.append(
            node(
                "tr",
                node("th", str(number), scope="row"),
                node("td", f"{spaced(leg.first)} to {spaced(leg.last)}", class_="number"),
                node("td", _optional(leg.loss_first), class_="number"),
                node("td", _optional(leg.loss_last), class_="number"),
                node("td", leg.reason or "start of the run", node("small", f"data {leg.file}") if leg.file else None),
            )
        )
    heads = ("Batch", "Steps", "First loss", "Last loss", "Known by")
    made.append(scrolling("Batches", node("table", head(heads, numbers_from=1, text=("Known by",)), body)))
    if len(legs) > rows:
        made.append(node("p", f"{spaced(len(legs) - rows)} more are not shown.", class_="note"))
    return made


def _checks(report: Report) -> Element:
    """Return how many outcomes of each kind every family of rules had."""
    counts: dict[str, dict[Outcome, int]] = {}
    for item in report.outcomes:
        family = counts.setdefault(item.rule.partition("/")[0], dict.fromkeys(Outcome, 0))
        family[item.outcome] += 1
    body = node("tbody")
    for name, found in sorted(counts.items()):
        cells = (node("td", str(found[outcome]), class_="number") for outcome in Outcome)
        body.append(node("tr", node("th", name, scope="row"), *cells))
    heads = ("Family", "passed", "failed", "not applicable", "crashed")
    return node(
        "details",
        node("summary", "What was checked"),
        node(
            "p", "One count for each rule and checkpoint. A rule that could not check is not applicable, never passed."
        ),
        scrolling("Checks by family", node("table", head(heads, numbers_from=1), body)),
        class_="card checks",
    )


def head(names: Sequence[str], numbers_from: int, text: Sequence[str] = ()) -> Element:
    """Return the head of a table, whose columns are numbers from ``numbers_from`` on, except those in ``text``."""
    cells = (
        node("th", name, scope="col", class_="number" if place >= numbers_from and name not in text else None)
        for place, name in enumerate(names)
    )
    return node("thead", node("tr", *cells))


def scrolling(name: str, table: Element) -> Element:
    """A wide table scrolls in its own region, also by keyboard."""
    return node("div", table, class_="scrolling", tabindex="0", role="region", aria_label=name)
