"""Write docs/rules.md from the docstrings of the rules: `tox run -e docs`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.manager import load
from audit.rules import Rule

HEAD = """# Rules

Written by `tox run -e docs` from the docstrings of the rules; `audit explain RULE` prints the same. Each can be left out with `--ignore`,
and its severity and thresholds changed in the configuration.
"""


def page(rules: Sequence[Rule]) -> str:
    """Return the page: a table of all rules, then each with its documentation."""
    return "\n".join([HEAD, *_table(rules), *(line for rule in rules for line in _section(rule))])


def _table(rules: Sequence[Rule]) -> Iterator[str]:
    yield "| rule | severity | blocks resuming | finds |"
    yield "| --- | --- | --- | --- |"
    for rule in rules:
        anchor = rule.id.replace("/", "")
        blocks = "yes" if rule.blocks_resume else "with `--exact`" if rule.breaks_exactness else ""
        title = rule.title.replace("|", "\\|")
        yield f"| [{rule.id}](#{anchor}) | {rule.severity.value} | {blocks} | {title} |"


def _section(rule: Rule) -> Iterator[str]:
    yield f"\n## {rule.id}\n\n{rule.documentation}\n"
    yield f"**{rule.severity.value}**{f', {rule.blocks}' if rule.blocks else ''}. {rule.remedy}"
    if rule.options:
        yield f"\nThresholds: {', '.join(f'`{name} = {value!r}`' for name, value in rule.options.items())}."
    if rule.explained_by:
        yield f"\nLeft out where one of these is found, which is then the cause: {', '.join(rule.explained_by)}."


if __name__ == "__main__":
    built_in = [rule for rule in load().rules if rule.function.__module__.startswith("audit_rules.")]
    Path(__file__).with_name("rules.md").write_text(page(built_in) + "\n", encoding="utf-8")
