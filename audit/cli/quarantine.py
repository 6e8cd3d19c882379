"""``audit quarantine RUN``: move broken checkpoints aside, and back."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, add_shared, options_of
from audit.cli.parser import write
from audit.cli.progress import Progress
from audit.cli.table import table, wrapped
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.auditor import Auditor
from audit.judging.proving import refuse_untouched
from audit.ledger.records import Records, read_records
from audit.manager import load
from audit.options import Options
from audit.retention.directories import refuse_files
from audit.retention.pins_aside import set_pins_aside
from audit.retention.quarantine import Held, choose, held, isolate, obstacles, restore, wanted
from audit.text import minute

EXAMPLES = (
    ("audit quarantine current_model/ --dry-run", "show which checkpoints are broken and would be moved"),
    ("audit quarantine current_model/", "move them to current_model/.audit/quarantine/"),
    ("audit quarantine current_model/ --list", "list what is in quarantine"),
    ("audit quarantine current_model/ --restore checkpoint-300", "move one back"),
    ("audit quarantine current_model/ --list --format json", "the list as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=LOCAL_RUN)
    parser.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", help="names of checkpoints (default: every broken one)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--restore", action="store_true", help="move checkpoints back: those named, or all")
    what.add_argument("--list", action="store_true", help="list what is in quarantine, since when and why")
    parser.add_argument(
        "--force", action="store_true", help="also move named checkpoints that are sound, and the last one that is left"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be moved without moving it")
    add_format(parser)
    add_shared(parser, "quarantine")


class _Account:
    """What was moved and refused: a line for each as it happens, or one document at the end."""

    def __init__(self, run: str, arguments: argparse.Namespace) -> None:
        self._json = arguments.format == "json"
        self._talks = not self._json and not arguments.quiet
        action = "list" if arguments.list else "restore" if arguments.restore else "move"
        self._head = {"run": run, "action": action, "dry_run": arguments.dry_run}
        self.checkpoints: list[dict[str, Any]] = []
        self._refused: list[dict[str, str]] = []
        self._notes: list[str] = []

    def say(self, line: str) -> None:
        if self._talks:
            write(wrapped(line, 4), None)

    def add(self, item: Held, line: str) -> None:
        self.keep(item)
        self.say(line)

    def keep(self, item: Held) -> None:
        self.checkpoints.append({name: value or None for name, value in item._asdict().items()})

    def refuse(self, reasons: Mapping[str, str]) -> bool:
        for name, reason in reasons.items():
            self._refused.append({"checkpoint": name, "reason": reason})
            print(f"refused  {name}: {reason}", file=sys.stderr)
        return bool(reasons)

    def note(self, text: str) -> None:
        self._notes.append(text)
        print(f"note: {text}", file=sys.stderr)

    def unrecorded(self, records: Records) -> None:
        if problem := records.unusable or records.edited or records.unwritable:
            self.note(f"not recorded: {problem}")

    def close(self) -> None:
        if self._json:
            write_document(
                {**self._head, "checkpoints": self.checkpoints, "refused": self._refused, "notes": self._notes}
            )


def call(arguments: argparse.Namespace) -> int:
    """Move, and print what was moved where; 1 if something was refused, and then nothing is moved."""
    root, only = locate(arguments.run)
    if only:
        raise AuditError(f"{arguments.run}: is one checkpoint; give the run, then the checkpoint's name")
    names = [os.path.basename(name.rstrip("/")) for name in arguments.checkpoints]
    account = _Account(root, arguments)
    act = _list if arguments.list else _restore if arguments.restore else _isolate
    try:
        code = act(root, names, arguments, account)
    except AuditError:
        if account.checkpoints:  # what was moved before stays moved
            account.close()
        raise
    account.close()
    return code


def _isolate(root: str, names: Sequence[str], arguments: argparse.Namespace, account: _Account) -> int:
    registry = load()
    options = options_of(arguments, registry)
    with Progress(root, quiet=arguments.quiet > 0) as progress:
        known, _ = read_records(root, write=False)
        run, report = Auditor(options, registry).judge(root, known, progress.advance)
    refuse_files(run, "quarantine")
    refuse_untouched(root, run.entries, run.storage)
    if report.crashed:
        raise AuditError(f"rule {report.crashed[0].rule} crashed, so nothing is moved; please report this")
    choice = choose(run, report.findings, names, arguments.force)
    if account.refuse(choice.refused):
        return 1
    if arguments.dry_run:
        for checkpoint, reason, _ in choice.candidates:
            account.add(Held("", checkpoint.name, reason), f"would move  {checkpoint.name}: {reason}")
    elif choice.candidates:
        records, ledger = read_records(root, write=True)
        try:
            for item in isolate(run, choice.candidates, ledger):
                account.add(item, f"moved  {item.name} -> .audit/quarantine/{item.place}: {item.reason}")
            asked = {item.checkpoint.name for item in choice.candidates if item.asked}
            for name in set_pins_aside(root, asked.__contains__, "moved on request", ledger):
                account.say(f"unpinned  {name}: audit train does not put it back")
        finally:
            if ledger is not None:
                ledger.close()
        account.unrecorded(records)
    if not choice.candidates:
        account.say("nothing to move: no checkpoint is broken")
    return 0


def _restore(root: str, names: Sequence[str], arguments: argparse.Namespace, account: _Account) -> int:
    items = wanted(root, names)
    if account.refuse(obstacles(root, items)):
        return 1
    if not items:
        account.say("nothing to restore: the quarantine is empty")
        return 0
    if arguments.dry_run:
        for item in items:
            account.add(item, f"would restore  {item.place} -> {item.name}")
        return 0
    run = Auditor(Options()).open_quick(root)
    step = max((item.step for item in run.checkpoints if item.complete), default=0)
    records, ledger = read_records(root, write=True)
    try:
        for item in restore(root, items, ledger, step):
            account.add(item, f"restored  {item.place} -> {item.name}")
    finally:
        if ledger is not None:
            ledger.close()
    account.unrecorded(records)
    return 0


def _list(root: str, _: Sequence[str], arguments: argparse.Namespace, account: _Account) -> int:
    from audit.ledger.store import LedgerError, open_ledger

    try:
        ledger = open_ledger(root, write=False)
    except LedgerError as error:
        account.note(str(error))
        ledger = None
    try:
        items: tuple[Held, ...] = held(root, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    for item in items:
        account.keep(item)
    if items and arguments.format != "json":
        rows = [(item.place, minute(item.time) or None, item.reason) for item in items]
        write(table(("CHECKPOINT", "MOVED (UTC)", "REASON"), rows), None)
    return 0
