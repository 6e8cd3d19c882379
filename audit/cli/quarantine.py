"""``audit quarantine RUN``: move broken checkpoints aside, and back."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from audit.cli.options import RUN, add_shared, options_of
from audit.cli.parser import write
from audit.cli.progress import Progress
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.auditor import Auditor
from audit.ledger.records import Records, read_records
from audit.manager import load
from audit.options import Options
from audit.retention.quarantine import Held, choose, held, isolate, obstacles, restore, wanted

EXAMPLES = (
    ("audit quarantine current_model/ --dry-run", "show which checkpoints are broken and would be moved"),
    ("audit quarantine current_model/", "move them to current_model/.audit/quarantine/"),
    ("audit quarantine current_model/ --list", "list what is in quarantine"),
    ("audit quarantine current_model/ --restore checkpoint-300", "move one back"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", help="names of checkpoints (default: every broken one)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--restore", action="store_true", help="move checkpoints back: those named, or all")
    what.add_argument("--list", action="store_true", help="list what is in quarantine, since when and why")
    parser.add_argument(
        "--force", action="store_true", help="also move the named checkpoints that are sound, and the last one"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be moved without moving it")
    add_shared(parser, "quarantine", quiet="show no progress bar")


def call(arguments: argparse.Namespace) -> int:
    """Move, and print what was moved where; 1 if something was refused, and then nothing is moved."""
    root, only = locate(arguments.run)
    if only:
        raise AuditError(f"{arguments.run}: is one checkpoint; give the run, then the checkpoint's name")
    names = [os.path.basename(name.rstrip("/")) for name in arguments.checkpoints]
    if arguments.list:
        return _list(root)
    if arguments.restore:
        return _restore(root, names, arguments)
    return _isolate(root, names, arguments)


def _isolate(root: str, names: Sequence[str], arguments: argparse.Namespace) -> int:
    registry = load()
    options = options_of(arguments, registry)
    with Progress(root, quiet=arguments.quiet > 0) as progress:
        known, _ = read_records(root, write=False)
        run, report = Auditor(options, registry).judge(root, known, progress.advance)
    if report.crashed:
        raise AuditError(f"rule {report.crashed[0].rule} crashed, so nothing is moved; please report this")
    choice = choose(run, report.findings, names, arguments.force)
    if _refused(choice.refused):
        return 1
    if arguments.dry_run:
        for checkpoint, reason in choice.candidates:
            write(f"would move  {checkpoint.name}: {reason}\n", None)
    elif choice.candidates:
        records, ledger = read_records(root, write=True)
        try:
            for item in isolate(run, choice.candidates, ledger):
                write(f"moved  {item.name} -> .audit/quarantine/{item.place}: {item.reason}\n", None)
        finally:
            if ledger is not None:
                ledger.close()
        _unrecorded(records)
    if not choice.candidates:
        write("nothing to move: no checkpoint is broken\n", None)
    return 0


def _restore(root: str, names: Sequence[str], arguments: argparse.Namespace) -> int:
    items = wanted(root, names)
    if _refused(obstacles(root, items)):
        return 1
    if not items:
        write("nothing to restore: the quarantine is empty\n", None)
        return 0
    if arguments.dry_run:
        for item in items:
            write(f"would restore  {item.place} -> {item.name}\n", None)
        return 0
    run = Auditor(Options()).open_quick(root)
    step = max((item.step for item in run.checkpoints if item.complete), default=0)
    records, ledger = read_records(root, write=True)
    try:
        for item in restore(root, items, ledger, step):
            write(f"restored  {item.place} -> {item.name}\n", None)
    finally:
        if ledger is not None:
            ledger.close()
    _unrecorded(records)
    return 0


def _list(root: str) -> int:
    from audit.ledger.store import LedgerError, open_ledger

    try:
        ledger = open_ledger(root, write=False)
    except LedgerError as error:
        print(f"note: {error}", file=sys.stderr)
        ledger = None
    try:
        items: tuple[Held, ...] = held(root, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    for item in items:
        write("  ".join(part for part in (item.place, item.time, item.reason) if part) + "\n", None)
    return 0


def _refused(reasons: Mapping[str, str]) -> bool:
    for name, reason in reasons.items():
        print(f"refused  {name}: {reason}", file=sys.stderr)
    return bool(reasons)


def _unrecorded(records: Records) -> None:
    problem = records.unusable or records.edited or records.unwritable
    if problem:
        print(f"note: not recorded: {problem}", file=sys.stderr)
