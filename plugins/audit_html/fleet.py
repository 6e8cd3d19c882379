"""The page of a fleet: one file without a script, which loads nothing. Tables only, each with the worst first."""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from xml.etree.ElementTree import Element

from audit.plugin import FleetGroup, FleetRule, FleetRun, FleetView, __version__, human_bytes, minute
from audit_html.body import badge, head, scrolling
from audit_html.charts import spaced
from audit_html.markup import add, asset, header, html, node

RULES = 5
"""Rules of a run that are named; the others are counted."""


def render(view: FleetView) -> str:
    """Return the page."""
    above = _above(run.run for run in (*view.worst, *view.unaudited, *view.freed))
    main = node("main", _summary(view, above), id="main", class_="fleet")
    alarming = view.total.broken + view.total.suspect
    add(
        main,
        _runs("Worst first", view.worst, alarming, "No run has an error or a warning.", above),
        _unaudited(view, above),
        _rules(view.rules),
        _groups("By owner", "Owner", view.owners, "The first directory below the root."),
        _groups("By age", "Last written", view.ages, "When a file of the run was last written."),
        _freed(view, above),
    )
    title = f"{view.table}: {view.total.broken} of {view.total.runs} runs broken"
    made = view.made.replace("T", " ").replace("Z", " UTC")
    top = node(
        "header",
        node("div", node("h1", "Checkpoint audit"), node("p", f"{made}, version {view.version or __version__}")),
        class_="top",
    )
    skip = node("a", "Skip to the content", href="#main", class_="skip")
    return html(node("html", header(title, asset("page.css")), node("body", skip, top, main), lang="en"))


def _above(runs: Iterable[str]) -> str:
    """Return the directory that all runs are in, with its slash, "" if there is none or only one run."""
    paths = [run.split("/")[:-1] for run in runs]
    same = takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False)) if len(paths) > 1 else ()
    found = [names[0] for names in same]
    return "/".join([*found, ""]) if any(found) else ""


def _summary(view: FleetView, above: str) -> Element:
    total, verdicts = view.total, view.verdicts
    worst = next((name for name in ("broken", "suspect") if verdicts.get(name)), "sound")
    failed, unread = view.statuses.get("failed", 0), view.statuses.get("unread", 0)
    depths = ", ".join(f"{spaced(count)} {name}" for name, count in sorted(view.depths.items()) if name)
    facts = (
        ("Runs", spaced(total.runs), f"{spaced(verdicts.get('sound', 0))} sound"),
        ("Broken", spaced(verdicts.get("broken", 0)), "have an error"),
        ("Suspect", spaced(verdicts.get("suspect", 0)), "have a warning"),
        ("Not audited", spaced(failed), f"{spaced(unread)} more in a layout that is not read" if unread else ""),
        ("Size", human_bytes(total.bytes), "of all checkpoints"),
        ("Not resumable", human_bytes(total.bytes_not_resumable), "broken, or not written to the end"),
        ("Superseded", human_bytes(total.bytes_superseded), "older than the one to resume from, the best left out"),
        ("Depth", depths or "none", "full: every byte was read"),
    )
    made = node("dl", class_="facts")
    for name, value, more in facts:
        made.append(node("div", node("dt", name), node("dd", value, node("small", more) if more else None)))
    section = node(
        "section",
        node("h2", view.table),
        node("p", badge(worst), f" {spaced(total.broken)} of {spaced(total.runs)} runs are broken", class_="verdict"),
        node("p", "Runs are named from ", node("code", above), class_="note") if above else None,
        made,
        class_=f"head {worst}",
    )
    for rule in view.crashed:
        text = f"The rule {rule} crashed, so this audit is incomplete"
        section.append(node("p", text, class_="crash", role="alert"))
    return section


def _card(title: str, *children: Element | None) -> Element:
    return node("section", node("h2", title), *children, class_="card compare")


def _name(run: FleetRun, above: str) -> Element:
    name = run.run.removeprefix(above)
    return node("th", node("a", name, href=run.page) if run.page else name, scope="row", title=run.run)


def _saved(run: FleetRun) -> Element:
    return node("td", minute(run.saved or ""), class_="time")


def _number(value: object) -> Element:
    return node("td", "" if value is None else str(value), class_="number")


def _named(rules: Sequence[str]) -> str:
    more = len(rules) - RULES
    return ", ".join(rules[:RULES]) + (f" and {more} more" if more > 0 else "")


def _runs(title: str, runs: Sequence[FleetRun], count: int, none: str, above: str) -> Element:
    if not runs:
        return _card(title, node("p", none))
    body = node("tbody")
    for run in runs:
        verdict = node("td", badge(run.verdict) if run.verdict else None)
        add(verdict, None if run.judged else node("small", "as far as read"))
        body.append(
            node(
                "tr",
                _name(run, above),
                verdict,
                node("td", run.resume_from or "nothing"),
                node("td", _named(run.rules)),
                _number(spaced(run.errors)),
                _number(spaced(run.warnings)),
                _number(run.checkpoints),
                _number(human_bytes(run.bytes)),
                _saved(run),
            )
        )
    heads = ("Run", "Verdict", "Resume from", "Rules", "Errors", "Warnings", "Checkpoints", "Size", "Saved (UTC)")
    table = node("table", head(heads, numbers_from=4, text=("Saved (UTC)",)), body)
    return _card(title, scrolling(title, table), _left_out(count - len(runs)))


def _left_out(count: int) -> Element | None:
    return node("p", f"{spaced(count)} more are in the table only.", class_="note") if count > 0 else None


def _unaudited(view: FleetView, above: str) -> Element | None:
    if not view.unaudited:
        return None
    body = node("tbody")
    for run in view.unaudited:
        body.append(node("tr", _name(run, above), node("td", run.status), node("td", run.error or "")))
    title = "Not audited"
    table = node("table", head(("Directory", "Status", "Why"), numbers_from=3), body)
    return _card(title, scrolling(title, table), _left_out(view.total.unaudited - len(view.unaudited)))


def _rules(rules: Sequence[FleetRule]) -> Element:
    title = "By rule"
    if not rules:
        return _card(title, node("p", "Nothing was found."))
    body = node("tbody")
    for rule in rules:
        severity = node("td", node("span", rule.severity, class_="severity"), class_=f"finding {rule.severity}")
        code = node("th", node("code", rule.rule), scope="row")
        cells = (_number(spaced(rule.runs)), _number(spaced(rule.findings)))
        body.append(node("tr", code, severity, *cells, node("td", rule.example)))
    heads = ("Rule", "Severity", "Runs", "Findings", "For example")
    return _card(title, scrolling(title, node("table", head(heads, numbers_from=2, text=("For example",)), body)))


def _groups(title: str, what: str, groups: Sequence[FleetGroup], note: str) -> Element:
    body = node("tbody")
    for group in groups:
        counts = (group.runs, group.broken, group.suspect, group.unaudited)
        sizes = (group.bytes, group.bytes_not_resumable, group.bytes_superseded)
        cells = (*map(spaced, counts), *map(human_bytes, sizes))
        body.append(node("tr", node("th", group.name, scope="row"), *map(_number, cells)))
    heads = (what, "Runs", "Broken", "Suspect", "Not audited", "Size", "Not resumable", "Superseded")
    table = node("table", head(heads, numbers_from=1), body)
    return _card(title, scrolling(title, table), node("p", note, class_="note"))


def _freed(view: FleetView, above: str) -> Element | None:
    if not view.freed:
        return None
    body = node("tbody")
    for run in view.freed:
        sizes = (run.bytes_not_resumable, run.bytes_superseded, run.bytes)
        body.append(node("tr", _name(run, above), *(_number(human_bytes(size)) for size in sizes), _saved(run)))
    heads = ("Run", "Not resumable", "Superseded", "Size", "Saved (UTC)")
    table = node("table", head(heads, numbers_from=1, text=("Saved (UTC)",)), body)
    advice = "audit prune RUN --keep 1 removes what newer proven checkpoints supersede; audit quarantine RUN moves broken ones aside."
    return _card("What could be freed", scrolling("What could be freed", table), node("p", advice, class_="note"))
