"""Write docs/api.md from the signatures and docstrings of what is public: `tox run -e docs`. Nothing is imported."""

import ast
import re
import textwrap
from collections.abc import Container, Iterator, Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PLUGIN = "audit/plugin.py"
QUOTES = "'\""
"""Around an annotation that only a type checker evaluates."""
HEAD = """# Python API

A program imports from `audit`, a plugin from `audit.plugin`, a test from `audit.testing`, and nothing else: the modules
behind them may change in any release. The package is typed (`py.typed`) and imports nothing heavy before it is needed.
[What plugins may rely on](contract.md#what-plugins-may-rely-on).

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
        "Importable from `audit`, and from `audit.plugin`, too.",
        (
            "audit/api.py:verify",
            "audit/api.py:guard",
            "audit/options.py:Options",
            "audit/findings.py:Acceptance",
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
        "Attributes of `audit.plugin.Checkpoint`, by which rules ask for them.",
        (
            "audit/facts/directory.py:Directory",
            "audit/facts/recorded.py:Recorded",
            "audit/facts/checkpoint.py:Checkpoint",
        ),
    ),
    "Facts of a run": (
        "Attributes of `audit.plugin.Run`.",
        ("audit/facts/scanned_run.py:ScannedRun", "audit/facts/run.py:Run"),
    ),
    "Facts of a plan": (
        "Attributes of `audit.plugin.Plan`: one leg before it is trained.",
        ("audit/facts/plan.py:Plan",),
    ),
    "Hooks": (
        "A plugin is a module in the entry-point group `audit`, with functions of these names that are marked with `audit.plugin.hookimpl`.",
        (
            "audit/hookspecs.py:audit_rules",
            "audit/hookspecs.py:audit_backends",
            "audit/hookspecs.py:audit_training_backends",
            "audit/hookspecs.py:audit_reporters",
            "audit/hookspecs.py:audit_pages",
            "audit/hookspecs.py:audit_storages",
            "audit/hookspecs.py:audit_fleet_pages",
            "audit/hookspecs.py:audit_commands",
            "audit/hookspecs.py:audit_observers",
            "audit/hookspecs.py:audit_checkpoint_verified",
            "audit/hookspecs.py:audit_legs_judged",
            "audit/hookspecs.py:Context",
            "audit/hookspecs.py:Command",
            "audit/hookspecs.py:Terminal",
            "audit/hookspecs.py:Observer",
        ),
    ),
    "Storages": (
        "What opens a run [behind a URL](remote.md) returns one.",
        (
            "audit/storage.py:Storage",
            "audit/storage.py:RangeReader",
            "audit/storage.py:DistantReader",
            "audit/storage.py:Entry",
            "audit/errors.py:UnreachableError",
        ),
    ),
    "Backends": (
        "A whole example is in [backends](backends.md#a-backend-of-your-own).",
        ("audit/backend/protocol.py:Backend", "audit/backend/layout.py:Layout"),
    ),
    "All names of audit.plugin": ("By who needs them.", ()),
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
    public = set(_exported("audit/__init__.py"))
    lines = [HEAD]
    for title, (intro, names) in PARTS.items():
        lines.append(f"## {title}\n\n{_wrapped(intro)}\n")
        if title.startswith("Facts"):
            lines += _facts(names)
        else:
            for name in names:
                lines += _entry(name, public)
        if title == "All names of audit.plugin":
            lines += _all_names()
    return "\n".join(lines).rstrip("\n") + "\n"


def _wrapped(text: str, hanging: str = "") -> str:
    return textwrap.fill(
        text, 120, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False, fix_sentence_endings=False
    )


def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _exported(path: str) -> list[str]:
    """The names in ``__all__``."""
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no __all__")


@cache
def _origins() -> dict[str, tuple[str, str]]:
    """Module and name there of each name of ``audit.plugin``."""
    found = {}
    for node in ast.walk(_tree(PLUGIN)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("audit."):
            found |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}
    return found


def _all_names() -> Iterator[str]:
    """A table for each group of ``__all__``, whose titles are its comments."""
    source = (ROOT / PLUGIN).read_text(encoding="utf-8")
    origins = _origins()
    for title, names in re.findall(r"^    # (.+)\n((?:    \".+\",\n)+)", source, re.MULTILINE):
        yield f"### For {title}\n\n| name | what it is |\n| --- | --- |"
        for name in re.findall(r'"(.+)"', names):
            said = _prose(_said_of(*origins[name])).partition("\n\n")[0].replace("\n", " ")
            yield f"| `{name}` | {said.replace('|', chr(92) + '|')} |"
        yield ""


def _said_of(module: str, name: str) -> str:
    """The docstring of a name, followed to where it is defined. Raises LookupError if it has none."""
    home = ROOT / module.replace(".", "/")
    body = _tree(str((home / "__init__.py" if home.is_dir() else home.with_suffix(".py")).relative_to(ROOT))).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, Function | ast.ClassDef) and node.name == name and (said := ast.get_docstring(node)):
            return said
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _said_of(str(node.module), name)
        assigned = isinstance(node, ast.Assign) and name in re.findall(r"\w+", ast.unparse(node.targets[0]))
        if assigned and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return str(after.value.value)
    raise LookupError(f"{module}.{name} has no docstring")


def _definition(name: str) -> Function | ast.ClassDef:
    path, _, wanted = name.partition(":")
    return next(item for item in _tree(path).body if isinstance(item, Function | ast.ClassDef) and item.name == wanted)


def _entry(name: str, public: set[str]) -> Iterator[str]:
    node = _definition(name)
    path, _, wanted = name.partition(":")
    module = path.removesuffix(".py").removeprefix("plugins/").removeprefix("backends/").replace("/", ".")
    yield f"### {_public_name(module, wanted, public)}\n"
    yield f"```python\n{_signature(node)}\n```\n"
    yield f"{_prose(ast.get_docstring(node))}\n"
    if isinstance(node, ast.ClassDef):
        members = [_wrapped(f"* `{member}`: {said}", "  ") for member, said in _members(node)]
        if members:
            yield "\n".join(members) + "\n"


def _public_name(module: str, name: str, public: Container[str]) -> str:
    if module == "audit.hookspecs" and name.startswith("audit_"):
        return name
    if name in public and module.startswith("audit."):
        return f"audit.{name}"
    return f"audit.plugin.{name}" if name in _origins() else f"{HOMES.get(module, module)}.{name}"


def _facts(classes: Sequence[str]) -> Iterator[str]:
    """One table: a class and its bases are given in the order in which they are read."""
    yield "| fact | is a | what it is |\n| --- | --- | --- |"
    for item in (item for name in classes for item in _definition(name).body):
        if not isinstance(item, ast.FunctionDef) or item.name.startswith("_"):
            continue
        if [ast.unparse(mark) for mark in item.decorator_list] == ["fact"]:
            kind = ast.unparse(item.returns).strip(QUOTES) if item.returns else ""
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
    returns = f" -> {ast.unparse(node.returns).strip(QUOTES)}: ..." if node.returns else ": ..."
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
    plain = re.sub(r":\w+:`([^`]+)`", _where, text or "").replace("``", "`")
    return re.sub(r"(^|[^:])::\n\n((?:    .*\n?|\n)+)", _block, plain)


def _where(found: re.Match[str]) -> str:
    """A name by the module that readers import it from."""
    for name, origin in _origins().items():
        if found[1] == ".".join(origin):
            return f"`audit.plugin.{name}`"
    return f"`{found[1]}`"


def _block(found: re.Match[str]) -> str:
    code = "\n".join(line.removeprefix("    ") for line in found[2].rstrip("\n").split("\n"))
    return f"{found[1]}:\n\n```python\n{code}\n```\n"


if __name__ == "__main__":
    (HERE / "api.md").write_text(page(), encoding="utf-8")
