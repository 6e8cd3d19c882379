"""``audit verify RUN...``: judge runs."""

import argparse
import sys

from audit.cli.options import RUN_OR_CHECKPOINT, add_shared, options_of
from audit.cli.parser import complain, use_color, write
from audit.cli.progress import Progress
from audit.cli.registered import FORMATS, Registered
from audit.errors import AuditError
from audit.hookspecs import Context, Unaudited
from audit.judging.verification import verify_report as verify
from audit.manager import load
from audit.report import Report
from audit.storage import without_secrets

EXAMPLES = (
    (
        "audit verify current_model/",
        "apply every rule and read every byte; exit code 1 if something is wrong",
    ),
    ("audit verify current_model/checkpoint-300", "check one checkpoint, with its neighbours as context"),
    ("audit verify runs/a runs/b --depth quick", "check several runs without reading the weights"),
    ("audit verify s3://bucket/current_model", "check a run in an object store; docs/remote.md says what it needs"),
    (
        "audit verify current_model/ --format json --output report.json",
        "write the report as JSON; docs/ci.md has formats for CI",
    ),
    (
        "audit verify current_model/ --ignore security/secret --fail-on warning",
        "skip one rule, and fail on warnings too",
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help=RUN_OR_CHECKPOINT)
    parser.add_argument(
        "--format", action=Registered, of=FORMATS, default="console", metavar="FORMAT", help="report format: {names}"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE instead of stdout")
    add_shared(parser, "verify", "the verdict")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="print more: the rules that did not apply, too"
    )


def call(arguments: argparse.Namespace) -> int:
    """Verify every run; 2 if one could not be audited or a rule crashed, 1 for violations, else 0.

    A run that cannot be audited does not withhold the reports of the others.
    """
    registry = load()
    reporter = registry.reporter(arguments.format)
    options = options_of(arguments, registry)
    reports: list[Report] = []
    unaudited: list[Unaudited] = []
    for run in arguments.runs:
        try:
            with Progress(without_secrets(run), quiet=arguments.quiet > 0) as progress:
                reports.append(verify(run, options, registry=registry, progress=progress.advance))
        except AuditError as error:
            if len(arguments.runs) == 1:
                raise
            complain("verify", error)
            unaudited.append(Unaudited(without_secrets(run), str(error)))
    context = Context(
        color=arguments.output is None and use_color(sys.stdout),
        verbosity=arguments.verbose - arguments.quiet,
        fail_on=options.fail_on,
        rules=() if arguments.format == "console" else registry.rules,  # it names rules and does not explain them
        unaudited=tuple(unaudited),
    )
    write(reporter(reports, context), arguments.output)
    if unaudited or any(report.crashed for report in reports):
        return 2
    threshold = options.fail_on
    return int(threshold is not None and any(report.reaches(threshold) for report in reports))
