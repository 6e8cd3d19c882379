"""``audit prune RUN --keep N``: remove old checkpoints, and never the ones that matter."""

import argparse
import sys
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.cli.values import whole
from audit.errors import RefusedError
from audit.manager import load
from audit.retention.prune import Pruned, PruneRefused, prune
from audit.text import human_bytes

EXAMPLES = (
    ("audit prune current_model/ --keep 3 --dry-run", "show what would be removed, what would be kept and why"),
    ("audit prune current_model/ --keep 3", "keep the three newest proven checkpoints, and the recorded best"),
    ("audit prune current_model/ --keep 3 --keep-best", "also keep the best by the logged metric"),
    ("audit prune current_model/ --keep 3 --dry-run --format json", "what would be removed, as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=LOCAL_RUN)
    parser.add_argument(
        "--keep",
        type=whole("a number of at least 1: the last proven checkpoint is always kept", 1, 999_999),
        required=True,
        metavar="N",
        help="how many of the newest checkpoints that pass every check to keep",
    )
    parser.add_argument(
        "--keep-best",
        action="store_true",
        help="also keep the best by the logged metric; the best that the trainer recorded is always kept",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed without removing it")
    add_format(parser)
    add_shared(parser, "prune")


def call(arguments: argparse.Namespace) -> int:
    """Remove, and print what was removed and kept; 1 if it was refused, and then nothing was removed."""
    registry = load()
    options = options_of(arguments, registry)
    try:
        with Progress(arguments.run, quiet=arguments.quiet > 0) as progress:
            found = prune(
                arguments.run,
                arguments.keep,
                options,
                keep_best=arguments.keep_best,
                dry_run=arguments.dry_run,
                registry=registry,
                progress=progress.advance,
            )
    except RefusedError as error:
        if arguments.format == "json":
            kept = error.kept if isinstance(error, PruneRefused) else ()
            write_document(_document(arguments, Pruned(kept, ()), str(error)))
        complain("prune", error)
        return 1
    if arguments.format == "json":
        write_document(_document(arguments, found))
    elif not arguments.quiet:
        write(_text(found, arguments.dry_run), None)
    for note in found.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    return 0


def _document(arguments: argparse.Namespace, found: Pruned, refusal: str | None = None) -> dict[str, Any]:
    return {
        "run": arguments.run,
        "dry_run": arguments.dry_run,
        "refusal": refusal,
        "removed": [item._asdict() for item in found.removed],
        "kept": [item._asdict() for item in found.kept],
        "cleared": found.cleared,
        "notes": list(found.notes),
    }


def _text(found: Pruned, dry_run: bool) -> str:
    text = ""
    if found.cleared:
        text += f"cleared  .audit/trash: {found.cleared} left by an interrupted call\n"
    for item in found.removed:
        broken = "" if item.proven else ", not proven"
        verb = "would remove" if dry_run else "removed"
        text += f"{verb}  {item.checkpoint}  ({human_bytes(item.bytes)}{broken})\n"
    for kept in found.kept:
        text += f"{'would keep' if dry_run else 'kept'}  {kept.checkpoint}  ({kept.reason})\n"
    return text if found.removed else text + "nothing to remove\n"
