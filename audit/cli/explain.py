"""``audit explain RULE``: the rule's own documentation."""

import argparse
import json

from audit.cli.documents import add_format, write_document
from audit.cli.registered import RULES, Registered
from audit.cli.rules import document
from audit.errors import AuditError
from audit.manager import load
from audit.rules import ANY

EXAMPLES = (
    ("audit explain files/missing-optimizer", "what the rule checks, why it matters, what to do, and its thresholds"),
    ("audit explain files/missing-optimizer --format json", "the same as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "rule",
        action=Registered,
        of=RULES,
        metavar="RULE",
        help="id of the rule as shown in a finding: files/missing-optimizer",
    )
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print documentation, severity, remedy and thresholds."""
    registry = load()
    if arguments.rule in {rule.family for rule in registry.rules}:
        raise AuditError(f"'{arguments.rule}' is a family of rules; see audit rules {arguments.rule}")
    rule = registry.rule(arguments.rule)
    if arguments.format == "json":
        write_document({"rule": document(rule)})
        return 0
    print(f"{rule.id} ({', '.join(filter(None, (rule.severity.value, rule.blocks)))})\n")
    print(rule.documentation.strip().replace("``", "`"))
    print(f"\nWhat to do: {rule.remedy}")
    if rule.explained_by:
        causes = [
            "any rule that blocks this checkpoint or names the file" if cause == ANY else cause
            for cause in rule.explained_by
        ]
        print(f"\nNot reported if the cause is already named by: {', '.join(causes)}")
    if not rule.blocks_resume and rule.scope != "plan":
        print(f'\nA finding that you have judged can be accepted:\n  [[tool.audit.accept]]\n  rule = "{rule.id}"')
        print('  checkpoint = "checkpoint-300"  # or: step = 300\n  reason = "..."')
    if rule.options:
        print(f'\nThresholds, in [tool.audit.rules."{rule.id}"]:')
        for name, default in sorted(rule.options.items()):
            print(f"  {name} = {json.dumps(default)}")  # as in TOML
    return 0
