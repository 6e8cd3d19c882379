"""``audit snapshot RUN DEST``: a dated, verified copy of the newest proven checkpoint."""

import argparse
import sys

from audit.cli.options import add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.errors import RefusedError
from audit.manager import load
from audit.retention.copying import WAYS
from audit.retention.snapshots import snapshot
from audit.text import human_bytes

EXAMPLES = (
    ("audit snapshot current_model/ snapshots/", "the newest proven checkpoint to snapshots/<today>/checkpoint-N"),
    ("audit snapshot current_model/ /mnt/usb/snapshots/ --how copy", "bytes of its own on another disk"),
    ("audit verify snapshots/2026-11-21/", "later: is it still what was proven?"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory with checkpoint-N")
    parser.add_argument("dest", metavar="DEST", help="directory of this run's snapshots; it is made if need be")
    parser.add_argument(
        "--how",
        choices=WAYS,
        default="auto",
        help="auto (default): reflink where the file system has them, else copy; link: a hard link, which changes with "
        "the run when a trainer saves the same step again",
    )
    add_shared(parser, "snapshot", quiet="print nothing but errors")


def call(arguments: argparse.Namespace) -> int:
    """Copy, and say where it lies; 1 where nothing is proven or the place is refused."""
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
        did = (
            f"{found.how}, {human_bytes(found.bytes)}, verified" if found.made else "was there already, verified again"
        )
        write(f"snapshot  {found.path}  ({did})\n", None)
    for note in found.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    return 0
