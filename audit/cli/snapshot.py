"""``audit snapshot RUN DEST``: a dated, verified copy of the newest proven checkpoint."""

import argparse
import sys
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.errors import RefusedError
from audit.manager import load
from audit.retention.copying import WAYS
from audit.retention.snapshots import Snapshot, snapshot
from audit.text import human_bytes

EXAMPLES = (
    ("audit snapshot current_model/ snapshots/", "copy the newest proven checkpoint to snapshots/<today>/checkpoint-N"),
    ("audit snapshot current_model/ /mnt/usb/snapshots/ --how copy", "copy it to another disk"),
    ("audit snapshot current_model/ snapshots/ --format json", "print where the copy is as JSON"),
    ("audit verify snapshots/2026-11-21/", "later: check that it is still what was proven"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=LOCAL_RUN)
    parser.add_argument("dest", metavar="DEST", help="directory for the snapshots of this run; created if missing")
    parser.add_argument(
        "--how",
        choices=WAYS,
        default="auto",
        help="auto (default): reflink if the file system supports it, else copy; link: hard link, which changes when "
        "a trainer saves the same step again",
    )
    add_format(parser)
    add_shared(parser, "snapshot")


def call(arguments: argparse.Namespace) -> int:
    """Copy, and print where to; 1 if nothing is proven or the place is refused."""
    registry = load()
    options = options_of(arguments, registry)
    try:
        with Progress(arguments.run, quiet=arguments.quiet > 0) as progress:
            found = snapshot(
                arguments.run, arguments.dest, options, how=arguments.how, registry=registry, progress=progress.advance
            )
    except RefusedError as error:
        if arguments.format == "json":
            write_document(_document(arguments.run, None, str(error)))
        complain("snapshot", error)
        return 1
    if arguments.format == "json":
        write_document(_document(arguments.run, found))
    elif not arguments.quiet:
        did = f"{found.how}, {human_bytes(found.bytes)}, verified" if found.made else "already there, verified again"
        write(f"snapshot  {found.path}  ({did})\n", None)
    for note in found.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    return 0


def _document(run: str, found: Snapshot | None, refusal: str | None = None) -> dict[str, Any]:
    copy = found._asdict() if found else None
    notes = list(copy.pop("notes")) if copy else []
    return {"run": run, "refusal": refusal, "snapshot": copy, "notes": notes}
