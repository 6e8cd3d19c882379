"""Write docs/api.md from the signatures and docstrings of what is public: `tox run -e docs`. Nothing is imported."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
HEAD = """# Python API

What programs, rules and plugins may use. Everything else may move. The package is typed (`py.typed`), and imports nothing heavy before it is needed.

```python
import audit

report = audit.verify("current_model")
print(report.verdict, report.resume_from)
for finding in report.findings:
    print(finding.severity.value, finding.rule, finding.checkpoint, finding.message)
```

Written by `tox run -e docs` from the docstrings.
"""
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "The package": (
        "Importable from `audit` itself.",
        (
            "audit/api.py:verify",
            "audit/api.py:guard",
            "audit/options.py:Options",
            "audit/report.py:Report",
            "audit/report.py:CheckpointSummary",
            "audit/findings.py:Finding",
            "audit/findings.py:Severity",
            "audit/judging/decision.py:ResumeRefused",
            "audit/errors.py:AuditError",
        ),
    ),
    "Rules": (
        "For [rules of your own](custom-rule.md).",
        ("audit/rules.py:rule", "audit/findings.py:Violation", "audit/errors.py:NotApplicable"),
    ),
    "Facts of a checkpoint": (
        "Attributes of `audit.facts.checkpoint.Checkpoint`, by which rules ask for them.",
        ("audit/facts/checkpoint.py:Checkpoint",),
    ),
    "Facts of a run": ("Attributes of `audit.facts.run.Run`.", ("audit/facts/run.py:Run",)),
    "Hooks": (
        "A plugin is a module in the entry-point group `audit`, with functions of these names that are marked with `audit.hookspecs.hookimpl`.",
        (
            "audit/hookspecs.py:audit_rules",
            "audit/hookspecs.py:audit_backends",
            "audit/hookspecs.py:audit_training_backends",
            "audit/hookspecs.py:audit_reporters",
            "audit/hookspecs.py:audit_pages",
            "audit/hookspecs.py:audit_checkpoint_verified",
            "audit/hookspecs.py:Context",
        ),
    ),
    "Backends": (
        "A whole example stands in [backends](backends.md#a-backend-of-your-own).",
        ("audit/backend/layout.py:Backend", "audit/backend/layout.py:Layout"),
    ),
    "Tests of rules": (
        "Builders of runs and checkpoints, and one rule judged alone; nothing of it needs torch.",
        (
            "audit/testing/runs.py:make_run",
            "audit/testing/runs.py:edit_state",
            "audit/testing/runs.py:edit_json",
            "audit/testing/runs.py:edit_optimizer",
            "audit/testing/runs.py:edit_scheduler",
            "audit/testing/runs.py:edit_arguments",
            "audit/testing/runs.py:edit_tensors",
            "audit/testing/judging.py:check",
            "audit/testing/judging.py:outcome",
            "audit/testing/judging.py:report",
        ),
    ),
    "In pytest and in Trainer": (
        "See [pytest](pytest.md) and [the callback](trainer.md).",
        ("plugins/pytest_audit/asserting.py:assert_sound", "backends/audit_hf_trainer/callback.py:AuditCallback"),
    ),
}
HOMES = {"pytest_audit.asserting": "pytest_audit", "audit_hf_trainer.callback": "audit_hf_trainer"}
"""Where the public name is, if not in its own module."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """Return docs/api.md."""
    public = _public()
    lines = [HEAD]
    for title, (intro, names) in PARTS.items():
        lines.append(f"## {title}\n\n{intro}\n")
        for name in names:
            lines += _entry(name, public, facts=title.startswith("Facts"))
    return "\n".join(lines).rstrip("\n") + "\n"


def _public() -> set[str]:
    """The names that `audit` itself exports."""
    for node in ast.parse((ROOT / "audit" / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise LookupError("audit/__init__.py has no __all__")


def _entry(name: str, public: set[str], *, facts: bool) -> Iterator[str]:
    path, _, wanted = name.partition(":")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    node = next(item for item in tree.body if isinstance(item, Function | ast.ClassDef) and item.name == wanted)
    if facts:
        assert isinstance(node, ast.ClassDef)
        yield from _facts(node)
        return
    module = path.removesuffix(".py").removeprefix("plugins/").removeprefix("backends/").replace("/", ".")
    home = "audit" if wanted in public and module.startswith("audit.") else HOMES.get(module, module)
    yield f"### {home}.{wanted}\n"
    yield f"```python\n{_signature(node)}\n```\n"
    yield f"{_prose(ast.get_docstring(node))}\n"
    if isinstance(node, ast.ClassDef):
        members = [f"* `{member}`: {said}" for member, said in _members(node)]
        if members:
            yield "\n".join(members) + "\n"


def _facts(node: ast.ClassDef) -> Iterator[str]:
    yield "| fact | is a | what it is |\n| --- | --- | --- |"
    for item in node.body:
        if not isinstance(item, ast.FunctionDef) or item.name.startswith("_"):
            continue
        if [ast.unparse(mark) for mark in item.decorator_list] == ["fact"]:
            kind = ast.unparse(item.returns).strip("'\"") if item.returns else ""
            said = _prose(ast.get_docstring(item)).partition("\n\n")[0].replace("\n", " ")
            cells = (f"`{item.name}`", f"`{kind}`", said)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _signature(node: Function | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign | ast.Assign)]
        start = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
        if start is not None and not fields:
            arguments = start.args
            arguments.args = arguments.args[1:]
            return _call(node.name, arguments, "").replace("'", '"')
        if not fields:
            return f"class {node.name}({bases}): ..."
        return "\n    ".join([f"class {node.name}({bases}):", *fields]).replace("'", '"')
    returns = f" -> {ast.unparse(node.returns)}: ..." if node.returns else ": ..."
    return _call(f"def {node.name}", node.args, returns).replace("'", '"')


def _call(head: str, arguments: ast.arguments, tail: str) -> str:
    written = ast.unparse(arguments)
    depth, parts, start = 0, [], 0
    for position, letter in enumerate(written):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(written[start:position].strip())
            start = position + 1
    parts.append(written[start:].strip())
    parts = [re.sub(r"^(\w+: .+?)=(?!=)", r"\1 = ", part) for part in parts]
    line = f"{head}({', '.join(parts)}){tail}"
    if len(line) <= 100:
        return line
    inside = "".join(f"    {part},\n" for part in parts)
    return f"{head}(\n{inside}){tail}"


def _members(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Public methods and properties with a docstring."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and (said := ast.get_docstring(item)):
            is_property = any(ast.unparse(mark) == "property" for mark in item.decorator_list)
            arguments = ", ".join(argument.arg for argument in item.args.args[1:])
            yield (item.name if is_property else f"{item.name}({arguments})"), _prose(said).replace("\n", " ")


def _prose(text: str | None) -> str:
    plain = re.sub(r":\w+:`([^`]+)`", r"`\1`", text or "").replace("``", "`")
    return re.sub(r"(^|[^:])::\n\n((?:    .*\n?|\n)+)", _block, plain)


def _block(found: re.Match[str]) -> str:
    code = "\n".join(line.removeprefix("    ") for line in found[2].rstrip("\n").split("\n"))
    return f"{found[1]}:\n\n```python\n{code}\n```\n"


if __name__ == "__main__":
    (HERE / "api.md").write_text(page(), encoding="utf-8")
