"""Write docs/rules/: an index, and a page for each family of rules from the docstrings: `tox run -e docs`.

The anchor of a rule is the second half of its id, so ``files/missing-optimizer`` is
``rules/files.md#missing-optimizer`` for as long as the rule has its name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path

from audit.manager import load
from audit.rules import ANY, Rule

HERE = Path(__file__).parent
INDEX = """# Rules

Each rule is one thing that can be wrong with a run. `audit verify` judges by all of them; `--select` and `--ignore`
take a rule or a family, and the [configuration](../configuration.md) changes severities and thresholds.
`audit explain RULE` prints what is written here.

* **error**: resuming would crash, lose state or continue something else; or an invariant of the run is violated.
  **warning**: it may be legitimate. **info**: worth knowing.
* **blocks**: the checkpoint is not resumable, `audit guard` does not hand it out. **with `--exact`**: it can be resumed
  from, but not bit for bit.

[Why these things happen](../why.md) tells the stories behind them, [kinds of damage](../faults.md) which rule names
what.

Written by `tox run -e docs` from the docstrings of the rules.
"""
COLUMNS = ("| rule | severity | blocks resuming | finds |", "| --- | --- | --- | --- |")


def pages() -> dict[str, str]:
    """Return the pages by the name of the file."""
    rules = [rule for rule in load().rules if rule.function.__module__.startswith("audit_rules.")]
    reasons = reasons_of((HERE / "why.md").read_text(encoding="utf-8"))
    families = {name: list(members) for name, members in groupby(rules, key=lambda rule: rule.family)}
    known = frozenset(rule.id for rule in rules)
    made = {f"{name}.md": _filled(_linked(_page(name, members, reasons), known)) for name, members in families.items()}
    return {"index.md": _text([INDEX, *_index(families)])} | made


def _linked(page: str, known: frozenset[str]) -> str:
    """Make links of the rules that a docstring names in plain text."""

    def link(found: re.Match[str]) -> str:
        return _cause(found[0]) if found[0] in known else found[0]

    return re.sub(r"(?<![\w/`\[#.\"-])[a-z-]+/[a-z-]+(?![\w/`\]-])", link, page)


def reasons_of(page: str) -> Mapping[str, list[tuple[str, str]]]:
    """Return the sections of docs/why.md that name each rule, as (title, link)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for family, name in dict.fromkeys(re.findall(r"\]\(rules/([\w-]+)\.md#([\w-]+)\)", section)):
            found.setdefault(f"{family}/{name}", []).append((title, f"../why.md#{anchor}"))
    return found


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def _index(families: Mapping[str, Sequence[Rule]]) -> Iterator[str]:
    for family, rules in families.items():
        yield f"## {family}\n\n{_purpose(rules)}\n"
        yield from _table(rules, f"{family}.md")
        yield ""


def _page(family: str, rules: Sequence[Rule], reasons: Mapping[str, list[tuple[str, str]]]) -> str:
    lines = [f"# Rules: {family}\n\n{_purpose(rules)}\n", *_table(rules, "")]
    for rule in rules:
        lines += _section(rule, reasons.get(rule.id, ()))
    return _text(lines)


def _purpose(rules: Sequence[Rule]) -> str:
    package = rules[0].function.__module__.rpartition(".")[0]
    return (import_module(package).__doc__ or "").strip()


def _table(rules: Sequence[Rule], page: str) -> Iterator[str]:
    yield from COLUMNS
    for rule in rules:
        blocks = "blocks" if rule.blocks_resume else "with `--exact`" if rule.breaks_exactness else ""
        title = rule.title.replace("|", "\\|")
        yield f"| [{rule.id}]({page}#{_name(rule.id)}) | {rule.severity.value} | {blocks} | {title} |"


def _section(rule: Rule, reasons: Sequence[tuple[str, str]]) -> Iterator[str]:
    blocks = f" · {rule.blocks}" if rule.blocks else ""
    yield f"\n## {_name(rule.id)}\n\n`{rule.id}` · **{rule.severity.value}**{blocks}\n\n{rule.documentation}\n"
    yield _wrapped(f"**What to do.** {rule.remedy}")
    if rule.options:
        defaults = ", ".join(f"`{name} = {_toml(value)}`" for name, value in rule.options.items())
        yield "\n" + _wrapped(f'**Thresholds** of `[tool.audit.rules."{rule.id}"]`, with their defaults: {defaults}.')
    if rule.explained_by:
        causes = ", ".join(_cause(cause) for cause in rule.explained_by)
        yield "\n" + _wrapped(f"**Left out** where the cause is found already: {causes}.")
    if reasons:
        links = ", ".join(f"[{title}]({link})" for title, link in reasons)
        yield "\n" + _wrapped(f"**Why it happens:** {links}.")


def _wrapped(text: str) -> str:
    """Fill lines of 120 columns; neither code nor a link is broken."""
    lines = [""]
    for word in re.findall(r"(?:`[^`]*`|\[[^\]]*\]\([^)]*\)|\S)+", text):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > 120:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def _filled(page: str) -> str:
    """Wrap the paragraphs that links have made too wide; no table, heading, list or block of code."""
    parts = page.split("\n\n")
    for number, part in enumerate(parts):
        lines = part.strip("\n").split("\n")
        if max(map(len, lines)) > 120 and not any(re.match(r"[|#>]|```|    |[-*] ", line) for line in lines):
            parts[number] = _wrapped(" ".join(lines))
    return "\n\n".join(parts)


def _cause(id: str) -> str:
    if id == ANY:
        return "whatever blocks the same checkpoint, or names the same file of it"
    return f"[{id}]({id.partition('/')[0]}.md#{_name(id)})"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _name(id: str) -> str:
    return id.partition("/")[2]


def main() -> None:
    """Write the pages that there are, and remove those of families that are gone."""
    home = HERE / "rules"
    made = pages()
    for path in home.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (home / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
