"""Several runs in one place: a table with one line for each, and charts with one line for each."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from audit.plugin import RunCurves, Severity
from audit_html.body import badge, figure, head, losses, scrolling
from audit_html.charts import Chart, overlaid, spaced
from audit_html.markup import node


def comparison(runs: Sequence[RunCurves], charts: Sequence[Sequence[Chart]]) -> Element:
    """Return a table with one line for each run, and the charts that show all runs at once."""
    body = node("tbody")
    for number, run in enumerate(runs):
        report = run.report
        first, last, lowest = losses(run)
        body.append(
            node(
                "tr",
                node("th", node("a", report.path, href=f"#r{number}"), scope="row"),
                node("td", badge(report.verdict, report.verdict_for_people)),
                node("td", report.resume_from or "nothing"),
                node("td", spaced(run.last_step), class_="number"),
                node("td", first, class_="number"),
                node("td", last, class_="number"),
                node("td", lowest, class_="number"),
                node("td", str(report.count(Severity.ERROR)), class_="number"),
                node("td", str(report.count(Severity.WARNING)), class_="number"),
            )
        )
    heads = ("Run", "Verdict", "Resume from", "Steps", "First loss", "Last loss", "Lowest", "Errors", "Warnings")
    return node(
        "section",
        node("h2", f"{len(runs)} runs"),
        scrolling("All runs", node("table", head(heads, numbers_from=3), body)),
        *_overlaid(charts),
        class_="card compare",
    )


def _overlaid(charts: Sequence[Sequence[Chart]]) -> Iterator[Element]:
    shown = [
        figure(f"all-c{number}", title, f"{count} runs") for number, (_, title, count) in enumerate(overlaid(charts))
    ]
    if shown:
        yield node("div", *shown, class_="charts overlaid", role="group", aria_label="Curves of all runs")
