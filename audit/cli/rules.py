"""``audit rules``: all rules, one line each."""

import argparse

from audit.manager import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("family", nargs="?", help="only this family")


def call(arguments: argparse.Namespace) -> int:
    """Print id, severity, whether it blocks resuming, and the first line of the documentation."""
    rules = [rule for rule in load().rules if arguments.family in (None, rule.family)]
    if not rules:
        from audit.errors import AuditError

        raise AuditError(
            f"no family is named '{arguments.family}'; there are: {', '.join(sorted({r.family for r in load().rules}))}"
        )
    width = max(len(rule.id) for rule in rules)
    for rule in rules:
        print(
            f"{rule.id:<{width}}  {rule.severity.value:<7}  {'blocks' if rule.blocks_resume else '      '}  {rule.title}"
        )
    return 0
