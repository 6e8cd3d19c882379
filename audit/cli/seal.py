"""``audit seal RUN``: take digests now, and write them as files that stock tools check."""

import argparse
import os

from audit.api import verify
from audit.cli.options import add_judging, options_of
from audit.cli.parser import write
from audit.cli.progress import Progress
from audit.errors import AuditError
from audit.manager import load
from audit.records import read_records
from audit.sealing import write_checksums

TOOLS = {"blake3": "b3sum", "sha256": "sha256sum"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory with checkpoint-N, or one checkpoint-N")
    parser.add_argument(
        "--algorithm", choices=tuple(TOOLS), default="blake3", help="of the checksum file (default: blake3)"
    )
    add_judging(parser)


def call(arguments: argparse.Namespace) -> int:
    """Verify at full depth, seal what is sound, write the checksum files; 1 if a checkpoint could not be sealed."""
    registry = load()
    options = options_of(arguments, registry)._replace(depth="full", ledger=True)
    with Progress(arguments.run, quiet=arguments.quiet > 0) as progress:
        report = verify(arguments.run, options, registry=registry, progress=progress.advance)
    if report.notes and not any(item.sealed for item in report.checkpoints):
        raise AuditError(f"{report.path}: {report.notes[0]}")
    seals = read_records(report.path, write=False)[0].seals
    unsealed = 0
    for item in report.checkpoints:
        if not item.sealed or not item.resumable or item.name not in seals:
            write(f"not sealed  {item.name}: see audit verify {report.path}\n", None)
            unsealed += 1
            continue
        path = write_checksums(report.path, seals[item.name], arguments.algorithm)
        tool = TOOLS[arguments.algorithm]
        write(
            f"sealed      {item.name}  (cd {report.path} && {tool} --check {os.path.relpath(path, report.path)})\n",
            None,
        )
    return int(unsealed > 0)
