"""``audit diff A B``: two checkpoints side by side; 0 the same, 1 different, 2 trouble, as in diff(1)."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import CHECKPOINT_OR_RUN, add_quiet
from audit.cli.parser import one_line, write
from audit.cli.table import table, wrapped
from audit.manager import load
from audit.text import brief
from audit.views.comparison import Comparison, compare, open_checkpoint
from audit.views.summary import path_of
from audit.views.tensors import TensorChange

EXAMPLES = (
    ("audit diff current_model/checkpoint-200 current_model/checkpoint-300", "what 100 steps changed, and by how much"),
    ("audit diff runs/a runs/b", "the newest checkpoints of two runs"),
    ("audit diff current_model/checkpoint-300 backup/checkpoint-300 -q", "only the exit code: is the copy the same?"),
    ("audit diff runs/a runs/b --all", "every tensor, however many"),
    ("audit diff runs/a runs/b --format json", "everything, as JSON"),
)
SHOWN = 20
"""Tensors and values of a section that are shown; --all shows every one."""

LONG = 1000
"""Characters of a value whose first ones are the same."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="A", help=CHECKPOINT_OR_RUN)
    parser.add_argument("b", metavar="B", help="the other checkpoint or run")
    add_format(parser)
    parser.add_argument(
        "--all", action="store_true", help=f"show every difference, not only the first {SHOWN} of each kind"
    )
    add_quiet(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print what differs in B; 0 if every file is the same, 1 if not, 2 if something could not be read."""
    registry = load()
    a, b = (open_checkpoint(registry.place(path), registry.backends) for path in (arguments.a, arguments.b))
    found = compare(a, b)._replace(a=path_of(arguments.a, a), b=path_of(arguments.b, b))
    if arguments.format == "json":
        write_document(_document(found))
    elif not arguments.quiet:
        write(_console(found, None if arguments.all else SHOWN), None)
    for trouble in found.troubles[:SHOWN]:
        print(f"audit diff: {one_line(trouble)}", file=sys.stderr)
    if len(found.troubles) > SHOWN:
        print(f"audit diff: and {len(found.troubles) - SHOWN} more", file=sys.stderr)
    return 2 if found.troubles else int(not found.same)


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "same": found.same,
        "relation": found.relation,
        "files": found.files._asdict(),
        "tensors": {"same": found.same_tensors, "different": [item._asdict() for item in found.tensors]},
        "values": {
            title: {name: {"a": a, "b": b} for name, (a, b) in rows.items()} for title, rows in found.values.items()
        },
        "troubles": found.troubles,
    }


def _console(found: Comparison, limit: int | None) -> str:
    head = f"A  {one_line(found.a)}\nB  {one_line(found.b)}\n"
    if found.same:
        return f"{head}\nThe same: {len(found.files.same)} files, byte for byte.\n"
    text = f"{head}{one_line(found.relation)}\n\n{_tensors(found, limit)}"
    for title, rows in found.values.items():
        shown = list(rows.items())[:limit]
        text += f"\n{one_line(title)}\n"
        text += table(None, [(f"  {brief(name)}", *_change(a, b)) for name, (a, b) in shown])
        text += _rest(len(rows) - len(shown))
    text += "\nfiles\n"
    for what in ("removed", "added", "changed", "same"):
        names = getattr(found.files, what)
        if names:
            more = f" and {len(names) - limit} more" if limit and len(names) > limit else ""
            text += wrapped(f"  {what:<8} {one_line(' '.join(names[:limit]))}{more}", 11)
    return text


def _change(a: Any, b: Any) -> tuple[str, str, str]:
    """Old and new value, short unless that hides the difference."""
    one, two = brief(a), brief(b)
    return (one, "->", two) if one != two else (str(a)[:LONG], "->", str(b)[:LONG])


def _tensors(found: Comparison, limit: int | None) -> str:
    counts = [f"{sum(item.kind == kind for item in found.tensors)} {word}" for kind, word in KINDS]
    text = wrapped(f"tensors: {', '.join(counts)}, {found.same_tensors} the same", 2)
    if found.sharded:
        text += "  weights in pieces that cannot be put together are compared only as files\n"
    rows = sorted(found.tensors, key=_by_size)[:limit]
    if not rows:
        return text
    heads = ("TENSOR", "", "DTYPE", "SHAPE", "ELEMENTS", "CHANGED", "MAX ABS", "REL L2", "")
    cells = [
        (
            item.name,
            item.kind,
            _pair(item.dtype),
            _pair(item.shape),
            item.elements,
            item.changed,
            item.max_abs,
            item.relative_l2,
            f"{item.nonfinite} not finite" if item.nonfinite else "",
        )
        for item in rows
    ]
    return (
        text
        + table(heads, cells, drop=("ELEMENTS", "DTYPE", "SHAPE", "CHANGED"))
        + _rest(len(found.tensors) - len(rows))
    )


KINDS = (
    ("changed", "changed"),
    ("dtype", "of another dtype"),
    ("shape", "of another shape"),
    ("added", "added"),
    ("removed", "removed"),
)


def _by_size(item: TensorChange) -> tuple[Any, ...]:
    """Missing ones and those of another shape first, then by how much they changed."""
    return item.max_abs is not None, -(item.relative_l2 or 0.0), item.name


def _pair(values: Sequence[Any]) -> str:
    one, two = ("x".join(map(str, value)) or "scalar" if isinstance(value, tuple) else value for value in values)
    if one is None or two is None or one == two:
        return one if one is not None else two
    return f"{one} -> {two}"


def _rest(count: int) -> str:
    return f"  and {count} more; --all shows them\n" if count > 0 else ""
