"""``audit rules``: all rules, one line each, or all that is known of them as JSON."""

import argparse
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.parser import write
from audit.cli.registered import FAMILIES, Registered
from audit.cli.table import table
from audit.errors import AuditError
from audit.manager import load
from audit.rules import Rule
from audit.text import did_you_mean

EXAMPLES = (
    ("audit rules", "id, severity, whether a finding blocks resuming, and what is wrong"),
    ("audit rules optimizer", "the rules of one family"),
    ("audit rules --format json", "with documentation, remedy and thresholds, as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "family",
        action=Registered,
        of=FAMILIES,
        nargs="?",
        metavar="FAMILY",
        help="list only this family: the part of a rule's name before the slash",
    )
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print id, severity, whether it blocks resuming, and the first line of the documentation."""
    known = load().rules
    rules = [rule for rule in known if arguments.family in (None, rule.family)]
    if not rules:
        families = sorted({rule.family for rule in known})
        hint = did_you_mean(arguments.family, families)
        raise AuditError(f"no family is named '{arguments.family}'; available: {', '.join(families)}{hint}")
    if arguments.format == "json":
        write_document({"rules": [document(rule) for rule in rules]})
        return 0
    rows = [
        (rule.id, f"{rule.severity.value:<7}", f"{'blocks' if rule.blocks_resume else '':<6}", rule.title)
        for rule in rules
    ]
    write(table(None, rows), None)
    return 0


def document(rule: Rule) -> dict[str, Any]:
    """Return all that is known of a rule, for ``audit rules`` and ``audit explain``."""
    return {
        "id": rule.id,
        "family": rule.family,
        "severity": rule.severity.value,
        "scope": rule.scope,
        "blocks_resume": rule.blocks_resume,
        "breaks_exactness": rule.breaks_exactness,
        "title": rule.title,
        "documentation": rule.documentation,
        "remedy": rule.remedy,
        "explained_by": list(rule.explained_by),
        "options": dict(rule.options),
    }
