"""``audit snapshot RUN DEST``: a dated, verified copy of the newest proven checkpoint."""

import argparse
import sys

from audit.cli.options import RUN, add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.errors import RefusedError
from audit.manager import load
from audit.retention.copying import WAYS
from audit.retention.snapshots import snapshot
from audit.text import human_bytes

EXAMPLES = (
    ("audit snapshot current_model/ snapshots/", "copy the newest proven checkpoint to snapshots/<today>/checkpoint-N"),
    ("audit snapshot current_model/ /mnt/usb/snapshots/ --how copy", "copy it to another disk"),
    ("audit verify snapshots/2026-11-21/", "later: check that it is still what was proven"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument("dest", metavar="DEST", help="directory for the snapshots of this run; created if missing")
    parser.add_argument(
        "--how",
        choices=WAYS,
        default="auto",
        help="auto (default): reflink if the file system supports it, else copy; link: hard link, which changes when "
        "a trainer saves the same step again",
    )
    add_shared(parser, "snapshot", quiet="print nothing but errors")


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
        complain("snapshot", error)
        return 1
    if not arguments.quiet:
        did = f"{found.how}, {human_bytes(found.bytes)}, verified" if found.made else "already there, verified again"
        write(f"snapshot  {found.path}  ({did})\n", None)
    for note in found.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    return 0
