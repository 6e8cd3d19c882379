"""``audit report RUN... -o FILE``: one page with the curves and the findings."""

import argparse
import os
import sys

from audit.cli.options import RUN, add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.cli.registered import PAGES, Registered
from audit.errors import AuditError
from audit.judging.verification import verify_run
from audit.manager import load
from audit.page import RunCurves, is_page
from audit.storage import without_secrets
from audit.text import human_bytes
from audit.views.curves import curves_of

EXAMPLES = (
    ("audit report current_model/", "write the curves and findings of a run to report.html"),
    ("audit report runs/a runs/b -o both.html", "show two runs side by side, on the same scales"),
    ("audit report current_model/ -o - | ssh host 'cat > report.html'", "write the page to another machine"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN}; several are shown side by side")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the page to FILE; - is stdout (default: report.html)"
    )
    parser.add_argument(
        "--format", action=Registered, of=PAGES, default="html", metavar="FORMAT", help="page format: {names}"
    )
    add_shared(parser, "report")


def call(arguments: argparse.Namespace) -> int:
    """Write the page; 0 whatever it says, 2 if a run could not be audited or a rule crashed."""
    registry = load()
    render = registry.page(arguments.format)
    options = options_of(arguments, registry)
    output = arguments.output or _default(arguments.format)
    shown: list[RunCurves] = []
    failed = False
    for run in arguments.runs:
        try:
            with Progress(without_secrets(run), quiet=arguments.quiet > 0) as progress:
                found = verify_run(run, options, registry=registry, progress=progress.advance)
            shown.append(curves_of(found.run, found.report))
        except AuditError as error:
            if len(arguments.runs) == 1:
                raise
            complain("report", error)
            failed = True
    if not shown:
        return 2
    page = render(shown)
    write(page, None if output == "-" else output)
    if output != "-" and not arguments.quiet:
        verdicts = ", ".join(f"{item.report.path} is {item.report.verdict_for_people}" for item in shown)
        size = human_bytes(len(page.encode("utf-8", "backslashreplace")))
        print(one_line(f"{output}: {size}, {verdicts}"), file=sys.stdout)
    return 2 if failed or any(item.report.crashed for item in shown) else 0


def _default(format_: str) -> str:
    """Return the file that is written without ``-o``. Raises AuditError if another program's file has that name."""
    name = f"report.{format_}"
    if not os.path.lexists(name) or is_page(name):
        return name
    raise AuditError(f"{name}: is there, and is not a page of audit report, so it stays; name a file with -o")
